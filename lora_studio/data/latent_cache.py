"""Latents and text-encoder outputs, encoded once and kept, or encoded anew at each use: the numbers are the
same to the bit.

Each picture and each caption is encoded by itself, so that its batch does not matter; several pictures at
once only where that is asked for. Of a picture, mean and standard deviation are kept, so each use still draws
its own sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lora_studio.data.augment import Colour, changes_at_use, recoloured
from lora_studio.data.buckets import Placement, Size
from lora_studio.data.latent_files import LatentFiles
from lora_studio.data.pixels.masks import same_shape
from lora_studio.data.pixels.picture_pixels import fit, mask_of, open_picture, to_mask, to_pixels
from lora_studio.data.training_set.folders import Picture
from lora_studio.errors import DatasetError

if TYPE_CHECKING:
    import torch

    Moments = tuple[torch.Tensor, torch.Tensor]
    EncodePictures = Callable[[torch.Tensor], Moments]
    EncodeText = Callable[[Sequence[str]], Any]


MOST_WAITING = 256 * 2**20
"""Bytes of cut pictures in memory that wait to be encoded."""


@dataclass(frozen=True, kw_only=True)
class PlacedPicture:
    """A readable picture and its placement. `index` is its place in the run's list, `content` the SHA-256 of
    its file, `reading` is `Look.mark` in pixels/picture_pixels.py, `colour` the colour change of this use."""

    index: int
    picture: Picture
    placement: Placement
    content: str = ""
    reading: str = ""
    colour: Colour | None = None

    @property
    def interpolation(self) -> str | None:
        return self.picture.settings.resize_interpolation


@dataclass(kw_only=True)
class Latents:
    """Latents of pictures. `encode` maps pixels [b, 3, H, W] to mean and standard deviation, [b, c, h, w]
    each; `size_step` is the pixels of a latent pixel. `keep` is the run's setting. `files` keeps
    latents from one run to the next. With `later` pictures wait for their first use, so that the first step
    needs no more than its own."""

    encode: EncodePictures
    keep: bool
    size_step: int = 8
    at_once: int = 1
    files: LatentFiles | None = None
    later: bool = False
    _waiting: dict[int, tuple[PlacedPicture, Image.Image]] = field(default_factory=dict)
    _waiting_bytes: int = 0
    _kept: dict[tuple[int, bool], Moments] = field(default_factory=dict)
    _masks: dict[tuple[int, bool], torch.Tensor | None] = field(default_factory=dict)

    def keeps(self, placed: PlacedPicture) -> bool:
        """Whether a picture is encoded ahead of use, which pictures that change at each use are not."""
        return self.keep and not changes_at_use(placed.picture.settings)

    def recall(self, placed: PlacedPicture) -> bool:
        """Take a picture's latents from the files; False if any of them isn't there."""
        if not self.files or not placed.content or not self.keeps(placed):
            return False
        found = {}
        for mirrored in self._sides(placed):
            moments = self.files.read(self._file(placed, mirrored))
            if moments is None:
                return False
            found[placed.index, mirrored] = moments
        self._kept |= found
        return True

    def prepare(self, *pictures: tuple[PlacedPicture, Image.Image]) -> None:
        """Encode pictures of one size ahead of use, `at_once` at a time, mirrored too if that will be asked
        for; nothing if latents aren't kept."""
        self._encode([(one, self._cut(image, one)) for one, image in pictures if self.keeps(one)])

    def wait(self, placed: PlacedPicture, image: Image.Image) -> bool:
        """Keep a picture as it is cut until it is used. False where it is to be encoded now: unless `later`,
        together with others, or when many wait already."""
        width, height = placed.placement.bucket
        taken = self._waiting_bytes + 3 * width * height
        if not self.later or self.at_once > 1 or not self.keeps(placed) or taken > MOST_WAITING:
            return False
        self._waiting[placed.index], self._waiting_bytes = (placed, self._cut(image, placed)), taken
        return True

    @property
    def waiting(self) -> int:
        """The count of pictures that wait."""
        return len(self._waiting)

    def encode_waiting(self, pictures: Iterable[PlacedPicture]) -> None:
        """Encode those of the pictures that wait."""
        for placed in pictures:
            if placed.index in self._waiting:
                self._encode([self._waiting[placed.index]])
                del self._waiting[placed.index]

    def _encode(self, pictures: Sequence[tuple[PlacedPicture, Image.Image]]) -> None:
        """Encode pictures as they are cut."""
        import torch

        wanted = [
            (placed, mirrored, to_pixels(cut, mirrored=mirrored))
            for placed, cut in pictures
            for mirrored in self._sides(placed)
        ]
        for start in range(0, len(wanted), self.at_once):
            chunk = wanted[start : start + self.at_once]
            means, deviations = self.encode(torch.stack([pixels for _, _, pixels in chunk]))
            for (placed, mirrored, _), mean, deviation in zip(chunk, means, deviations, strict=True):
                moments = mean.float().cpu().clone(), deviation.float().cpu().clone()
                self._kept[placed.index, mirrored] = moments
                if self.files and placed.content:
                    self.files.write(self._file(placed, mirrored), moments)

    def moments(self, placed: PlacedPicture, *, mirrored: bool) -> Moments:
        """Mean and standard deviation, [c, h, w] each, on the CPU."""
        self.encode_waiting([placed])
        kept = self._kept.get((placed.index, mirrored))
        if kept is not None:
            return kept
        pixels = to_pixels(self._cut(open_picture(placed.picture.path), placed), mirrored=mirrored)
        mean, deviation = self.encode(pixels[None])
        return mean[0].float().cpu(), deviation[0].float().cpu()

    def mask(self, placed: PlacedPicture, *, mirrored: bool) -> torch.Tensor | None:
        """Weights of a picture's places, [1, h, w] from 0 to 1; None if all are 1. Raises DatasetError."""
        settings = placed.picture.settings
        if placed.picture.mask is None and not settings.alpha_mask:
            return None
        if changes_at_use(settings):
            return self._mask(placed, mirrored)
        if (placed.index, mirrored) not in self._masks:
            self._masks[placed.index, mirrored] = self._mask(placed, mirrored)
        return self._masks[placed.index, mirrored]

    def _mask(self, placed: PlacedPicture, mirrored: bool) -> torch.Tensor | None:
        image = mask_of(placed.picture.path, placed.picture.mask)
        if image is None:
            return None
        if placed.picture.mask and _differ(image.size, placed.placement.original):
            raise DatasetError(
                f"The mask {placed.picture.mask.name} has another shape than its picture.",
                path=placed.picture.mask,
            )
        return to_mask(fit(image, placed.placement, placed.interpolation), self.size_step, mirrored=mirrored)

    def _sides(self, placed: PlacedPicture) -> tuple[bool, ...]:
        return (False, True) if placed.picture.settings.flip_aug else (False,)

    def _cut(self, image: Image.Image, placed: PlacedPicture) -> Image.Image:
        fitted = fit(image, placed.placement, placed.interpolation)
        return recoloured(fitted, placed.colour) if placed.colour else fitted

    def _file(self, placed: PlacedPicture, mirrored: bool) -> Path:
        assert self.files is not None
        where = placed.placement
        cut = (where.bucket, where.resized, where.corner, placed.interpolation)
        read = (placed.reading,) if placed.reading else ()
        return self.files.path_of(placed.content, *cut, mirrored, self.at_once, *read)


def _differ(size: Size, original: Size) -> bool:
    """Whether the proportions differ by more than rounding explains; an unknown size is taken on trust."""
    return all(original) and not same_shape(size, original)


@dataclass(kw_only=True)
class Texts:
    """Text-encoder outputs of captions. `encode` maps captions to one output for all of them, whose class can
    stack several; nothing here depends on its content."""

    encode: EncodeText
    keep: bool
    _kept: dict[str, Any] = field(default_factory=dict)

    def prepare(self, caption: str) -> None:
        """Encode a caption ahead of use; nothing if texts aren't kept."""
        if self.keep and caption not in self._kept:
            self._kept[caption] = self.encode([caption])

    def batch(self, captions: Sequence[str]) -> Any:
        """One output for all captions."""
        outputs = [self._kept[c] if c in self._kept else self.encode([c]) for c in captions]
        return type(outputs[0]).stack(outputs)
