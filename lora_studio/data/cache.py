"""Latents and text, encoded once and kept, or encoded anew at each use: the numbers are the same to the bit.

Each picture and each caption is encoded by itself, never in a batch, so that it does not matter in whose
company it is used. What is kept of a picture is mean and standard deviation, so each use still draws its
own sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from PIL import Image

from lora_studio.data.buckets import Placement
from lora_studio.data.folders import Picture
from lora_studio.data.pictures import fit, open_picture, to_pixels

if TYPE_CHECKING:
    import torch

    Moments = tuple[torch.Tensor, torch.Tensor]
    EncodePictures = Callable[[torch.Tensor], Moments]
    EncodeText = Callable[[Sequence[str]], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class PlacedPicture:
    """A picture that can be read, and where it goes. `index` is its place in the run's list."""

    index: int
    picture: Picture
    placement: Placement


@dataclass(kw_only=True)
class Latents:
    """Latents of pictures. `encode` maps pixels [1, 3, H, W] to mean and standard deviation, [1, c, h, w]
    each."""

    encode: EncodePictures
    keep: bool
    flip: bool
    _kept: dict[tuple[int, bool], Moments] = field(default_factory=dict)

    def prepare(self, placed: PlacedPicture, image: Image.Image) -> None:
        """Encode ahead of use, mirrored too if that will be asked for; nothing if latents aren't kept."""
        if self.keep:
            for mirrored in (False, True) if self.flip else (False,):
                self._kept[placed.index, mirrored] = self._encoded(image, placed.placement, mirrored)

    def moments(self, placed: PlacedPicture, *, mirrored: bool) -> Moments:
        """Mean and standard deviation, [c, h, w] each, on the CPU."""
        kept = self._kept.get((placed.index, mirrored))
        if kept is not None:
            return kept
        return self._encoded(open_picture(placed.picture.path), placed.placement, mirrored)

    def _encoded(self, image: Image.Image, placement: Placement, mirrored: bool) -> Moments:
        mean, deviation = self.encode(to_pixels(fit(image, placement), mirrored=mirrored)[None])
        return mean[0].float().cpu(), deviation[0].float().cpu()


@dataclass(kw_only=True)
class Texts:
    """Text-encoder outputs of captions. `encode` maps captions to [b, n, d]."""

    encode: EncodeText
    keep: bool
    _kept: dict[str, torch.Tensor] = field(default_factory=dict)

    def prepare(self, caption: str) -> None:
        """Encode ahead of use; nothing if texts aren't kept."""
        if self.keep and caption not in self._kept:
            self._kept[caption] = self.encode([caption])[0]

    def batch(self, captions: Sequence[str]) -> torch.Tensor:
        """[b, n, d]."""
        import torch

        return torch.stack([self._kept[c] if c in self._kept else self.encode([c])[0] for c in captions])
