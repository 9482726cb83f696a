"""Perceptual hashes: pictures that look alike have hashes that differ in few bits.

The hash is the usual one of 64 bits: which of the lowest frequencies of a picture of 32 x 32 are above their
median (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"). Written here,
because the library for it brings scipy, some 100 MB, for one cosine transform.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from PIL import Image

SIDE, KEPT = 32, 8
BITS = KEPT * KEPT


def perceptual_hash(image: Image.Image) -> str:
    """The hash of a picture in 16 hexadecimal digits."""
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    pixels = numpy.asarray(grey, dtype=numpy.float64)
    cosines = _cosines()
    low = (cosines @ pixels @ cosines.T)[:KEPT, :KEPT].ravel()
    bits = low > numpy.median(low[1:])  # the first is the mean brightness, far above all others
    return numpy.packbits(bits).tobytes().hex()


def as_numbers(hashes: Sequence[str]) -> numpy.ndarray:
    """Hashes as numbers of 64 bits, [n]."""
    return numpy.array([int(text, 16) for text in hashes], dtype=numpy.uint64)


def distances(hashes: numpy.ndarray, one: numpy.uint64) -> numpy.ndarray:
    """The numbers of bits, [n], in which each of `hashes` [n] differs from one."""
    return numpy.bitwise_count(hashes ^ one)


def _cosines() -> numpy.ndarray:
    """The first rows of the cosine transform (DCT-II) of SIDE values, without its scale: all of them have the
    same, and the median with them."""
    frequency, place = numpy.arange(KEPT)[:, None], numpy.arange(SIDE)[None]
    return numpy.cos(numpy.pi * frequency * (2 * place + 1) / (2 * SIDE))
