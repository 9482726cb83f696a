"""The colours of Display P3, as a profile in a picture."""

from lora_studio.data.pixels.colour_profiles import matrix_profile

P3_PRIMARIES = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
"""Of Display P3 under D50."""
WIDE = matrix_profile(P3_PRIMARIES, 2.2)
