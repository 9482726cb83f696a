"""Give a picture's main colour another name: "blue apple", "green cat".

Emoji sets draw nearly everything in one colour, so a model that learns only them takes a colour word for part
of the name. Pictures with a changed main colour teach it what the word alone means.
"""

import numpy as np
from PIL import Image

# As strong as the sets' own paint; the backgrounds' colours are paler.
PAINT: dict[str, tuple[float, float, float]] = {
    "red": (0.87, 0.16, 0.18),
    "orange": (0.98, 0.55, 0.10),
    "yellow": (1.00, 0.84, 0.20),
    "green": (0.25, 0.68, 0.30),
    "blue": (0.20, 0.45, 0.92),
    "purple": (0.56, 0.30, 0.80),
    "pink": (1.00, 0.55, 0.72),
    "black": (0.17, 0.17, 0.19),
}
BINS = 36
# Hues, in turns, that belong to the main colour: all of the first distance, nothing beyond the second.
NEAR, FAR = 0.08, 0.12
LEAST_SHARE = 0.35


def main_hue(rgba: np.ndarray) -> float | None:
    """Hue in turns of the colour that covers at least a third of the thing, uint8 [S, S, 4]; None where none
    does."""
    hue, saturation, value, opaque = _channels(rgba)
    coloured = opaque & (saturation > 0.3) & (value > 0.2)
    if not coloured.any():
        return None
    bins = (hue[coloured] * BINS).astype(int) % BINS
    counts = np.bincount(bins, weights=saturation[coloured], minlength=BINS)
    smooth = counts + np.roll(counts, 1) + np.roll(counts, -1)
    peak = (smooth.argmax() + 0.5) / BINS
    share = (coloured & (_distance(hue, peak) < NEAR)).sum() / opaque.sum()
    return float(peak) if share >= LEAST_SHARE else None


def recolour(rgba: np.ndarray, hue: float, name: str) -> np.ndarray:
    """The picture with the parts of colour ``hue`` painted as ``name``, shades and highlights kept."""
    hues, saturation, value, opaque = _channels(rgba)
    distance = _distance(hues, hue)
    core = opaque & (distance < NEAR) & (saturation > 0.3)
    usual_value, usual_saturation = np.median(value[core]), np.median(saturation[core])
    amount = np.clip((FAR - distance) / (FAR - NEAR), 0, 1) * np.clip((saturation - 0.12) / 0.15, 0, 1)
    shade = (value / usual_value)[..., None]
    white = 0.7 * np.clip(1 - saturation / usual_saturation, 0, 1)[..., None]
    painted = np.clip(np.array(PAINT[name]) * shade, 0, 1)
    painted = painted + (1 - painted) * white
    mixed = rgba[..., :3] / 255 * (1 - amount[..., None]) + painted * amount[..., None]
    return np.concatenate([(mixed * 255).round().astype(np.uint8), rgba[..., 3:]], axis=-1)


def _channels(rgba: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Hue, saturation and value in 0..1, and where the picture is opaque; each [S, S]."""
    hsv = np.asarray(Image.fromarray(rgba).convert("RGB").convert("HSV"), dtype=np.float64) / 255
    return hsv[..., 0], hsv[..., 1], hsv[..., 2], rgba[..., 3] > 128


def _distance(hue: np.ndarray, other: float) -> np.ndarray:
    """How far two hues are apart on the circle, in turns (at most 0.5)."""
    gap = np.abs(hue - other)
    return np.minimum(gap, 1 - gap)
