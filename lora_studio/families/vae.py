"""The autoencoder between pixels and the latents that a denoiser takes, for training, cache, previews and
generation alike.

Legend: b pictures, c latent channels, h w latent height and width, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import get_module_execution_device
from PIL import Image
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from lora_studio.families.weights.channels_last import Originals, restore, to_channels_last
from lora_studio.families.weights.loading import free_model

DECODER = ("decoder.", "post_quant_conv.")
"""Beginnings of the names of weights that take no part in encoding."""
EMPTY_FRAMES = 2
"""Frames that a convolution over three of them takes to be before the first."""

DECODING = 5
"""Copies, in 32 bit, of the output of the last level but one at full size that are in memory at once: on an
autoencoder of SD 1.5's size 4 to 6 were measured."""


@dataclass(frozen=True, kw_only=True)
class Moments:
    """The autoencoder's answer: clouds of latents around `mean`, as wide as `std`, both [b, c, h, w]."""

    mean: torch.Tensor
    std: torch.Tensor


class Codec:
    """An AutoencoderKL with what its latents are shifted and scaled by: `scaling_factor`, `shift_factor`,
    `latents_mean` and `latents_std` of its configuration, each optional. One that is made for films, such as
    AutoencoderKLQwenImage, gets each picture as a film of one frame. Where means and deviations are those of
    a batch norm over squares of latent pixels (AutoencoderKLFlux2), each square is one pixel of more channels
    here. `overflows`: computed in 32 bit where
    its weights are fp16 and its configuration asks for it (`force_upcast`), as SDXL's pipeline does."""

    def __init__(self, vae: Any, *, overflows: bool = False) -> None:
        self.vae = vae
        self.processor = VaeImageProcessor(vae_scale_factor=self.step)
        self._overflows = overflows
        self._originals: Originals = []

    @property
    def module(self) -> torch.nn.Module:
        """The autoencoder itself."""
        found: torch.nn.Module = self.vae
        return found

    @property
    def step(self) -> int:
        """Pixels of a latent pixel."""
        return int(2 ** (len(self._levels) - 1)) * self._square

    @property
    def channels(self) -> int:
        config = self.vae.config
        return int(config.z_dim if self._is_of_films else config.latent_channels) * self._square**2

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.vae.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """The device that computes; the weights may rest elsewhere."""
        device: torch.device = get_module_execution_device(self.vae)
        return device

    @property
    def widest_level(self) -> int:
        """Channels of the layer whose output at the picture's full size is the largest; for films with those
        of the empty frames that are put before the only one."""
        levels = self._levels
        return levels[min(1, len(levels) - 1)] * (1 + EMPTY_FRAMES * self._is_of_films)

    def decoding_bytes(self, pixels: int) -> int:
        """Bytes that decoding a picture of so many pixels takes beside the weights."""
        return DECODING * 4 * pixels * self.widest_level

    def latents_size(self, width: int, height: int) -> tuple[int, int]:
        """Height and width in latents of a size in pixels."""
        return height // self.step, width // self.step

    def encode(self, pixels: torch.Tensor, *, quick: bool = False) -> Moments:
        """The moments of pixels [b, 3, H, W] in -1..1, sides multiples of `step`; neither shifted nor scaled.
        `quick`: on a CPU in another memory layout, which takes a third less time and changes the last
        bits."""
        if quick:
            self._originals += to_channels_last(self.vae.encoder)
        with self._as_exact_as_needed():
            found = self.vae.encode(self._framed(pixels.to(self.device, self.dtype))).latent_dist
        mean, std = (pixel_unshuffle(self._unframed(one), self._square) for one in (found.mean, found.std))
        return Moments(mean=mean, std=std)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels [b, 3, H, W] in 0..1 of latents as the denoiser has them, in the autoencoder's format."""
        with self._as_exact_as_needed():
            latents = self._unscaled(latents.to(self.device, self.dtype))
            framed = self._framed(pixel_shuffle(latents, self._square))
            pixels = self._unframed(self.vae.decode(framed).sample)
        found: torch.Tensor = (pixels * 0.5 + 0.5).clamp(0, 1)
        return found

    def decode_exactly(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels as `decode` gives them, computed in 32 bit whatever the autoencoder's own format is."""
        with self._in_32_bit():
            return self.decode(latents)

    def scaled(self, moments: Moments) -> Moments:
        """The cloud of latents as the denoiser takes them."""
        std = moments.std * self._scale
        centre = self._centre(moments.mean)
        return Moments(mean=self._scaled(moments.mean), std=std if centre is None else std / centre[1])

    def sample(self, moments: Moments, noise: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Latents [b, c, h, w] from the cloud, as the denoiser takes them in `dtype`; `noise` alike."""
        return self._scaled((moments.mean + moments.std * noise.to(moments.mean)).to(dtype))

    def to_pixels(self, *pictures: Image.Image) -> torch.Tensor:
        """[b, 3, H, W] in -1..1 of RGB pictures of one size."""
        pixels: torch.Tensor = self.processor.preprocess(list(pictures))
        return pixels

    def to_picture(self, pixels: torch.Tensor) -> Image.Image:
        """The picture of pixels [1, 3, H, W] in 0..1."""
        picture: Image.Image = self.processor.numpy_to_pil(self.processor.pt_to_numpy(pixels))[0]
        return picture

    def use_tiles(self, on: bool) -> None:
        """Whether large pictures are decoded in parts, one by one: less memory, other fine tones."""
        for name in ("tiling", "slicing"):
            getattr(self.vae, f"{'enable' if on else 'disable'}_{name}")()

    def free(self) -> None:
        """Give back the memory of all that lies in a file anyway."""
        restore(self._originals)
        free_model(self.vae)

    def encoding_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Weights by name that the moments depend on."""
        for name, weight in sorted(self.vae.state_dict().items()):
            if not name.startswith(DECODER):
                yield name, weight

    def facts(self) -> tuple[Mapping[str, Any], str]:
        """Configuration and class of the autoencoder."""
        return dict(self.vae.config), type(self.vae).__name__

    @property
    def is_centred(self) -> bool:
        """Whether its latents are shifted, or scaled channel by channel."""
        return self._centre(torch.empty(0)) is not None

    @property
    def _is_of_films(self) -> bool:
        return hasattr(self.vae.config, "temperal_downsample")

    @property
    def _square(self) -> int:
        """Latent pixels of the autoencoder's own to a side of one here."""
        norm = getattr(self.vae, "bn", None)
        return 1 if norm is None else math.isqrt(norm.num_features // self.vae.config.latent_channels)

    @property
    def _levels(self) -> Sequence[int]:
        """Channels of each level, the finest first."""
        config = self.vae.config
        if self._is_of_films:
            return [config.base_dim * factor for factor in config.dim_mult]
        levels: Sequence[int] = config.block_out_channels
        return levels

    @property
    def _scale(self) -> float:
        return getattr(self.vae.config, "scaling_factor", 1.0)

    def _framed(self, pictures: torch.Tensor) -> torch.Tensor:
        """[b, c, 1, h, w] for films."""
        return pictures[:, :, None] if self._is_of_films else pictures

    def _unframed(self, films: torch.Tensor) -> torch.Tensor:
        return films[:, :, 0] if self._is_of_films else films

    def _scaled(self, latents: torch.Tensor) -> torch.Tensor:
        centre, scale = self._centre(latents), self._scale
        found: torch.Tensor = latents * scale if centre is None else (latents - centre[0]) * scale / centre[1]
        return found

    def _unscaled(self, latents: torch.Tensor) -> torch.Tensor:
        centre, scale = self._centre(latents), self._scale
        found: torch.Tensor = latents / scale if centre is None else latents * centre[1] / scale + centre[0]
        return found

    def _centre(self, like: torch.Tensor) -> tuple[torch.Tensor | float, torch.Tensor | float] | None:
        """The shift of latents and the deviation they are divided by; None where there is neither."""
        shift = getattr(self.vae.config, "shift_factor", None)
        found = self._statistics()
        if found is None:
            return None if shift is None else (shift, 1.0)
        centre, width = (values.view(1, -1, 1, 1).to(like) for values in found)
        return centre + (shift or 0.0), width

    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Means and deviations of the latents' channels; None where it has none."""
        config, norm = self.vae.config, getattr(self.vae, "bn", None)
        if norm is not None:
            return norm.running_mean, torch.sqrt(norm.running_var + config.batch_norm_eps)
        mean, std = (getattr(config, name, None) for name in ("latents_mean", "latents_std"))
        return None if mean is None or std is None else (torch.tensor(mean), torch.tensor(std))

    @contextmanager
    def _as_exact_as_needed(self) -> Iterator[None]:
        """Compute in the autoencoder's own number format, also where the rest is under autocast."""
        with torch.autocast(self.device.type, enabled=False):
            if not (self._overflows and self.vae.config.force_upcast and self.dtype == torch.float16):
                yield
                return
            with self._in_32_bit():
                yield

    @contextmanager
    def _in_32_bit(self) -> Iterator[None]:
        dtype = self.dtype
        self.vae.to(dtype=torch.float32)
        try:
            yield
        finally:
            self.vae.to(dtype=dtype)
