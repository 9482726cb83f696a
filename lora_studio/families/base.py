"""What the engine asks of a family of base models. Everything else it does is the same for all of them.

Shape letters: b batch, c latent channels, h w latent height and width, n tokens, d text width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from lora_studio.families.detect import FoundBase


@dataclass(frozen=True, kw_only=True)
class Target:
    """A layer that receives a LoRA: the part it belongs to (`text_encoder` or `unet`), its module path
    there, and its name in the file."""

    part: str
    module: str
    name: str


@dataclass(kw_only=True)
class Parts:
    """A loaded base model. `alphas` is the noise schedule (cumulative product, one for each timestep);
    `prediction_type` epsilon or v_prediction; `size_step` the pixels of one latent pixel."""

    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    scheduler_config: Mapping[str, Any]
    prediction_type: str
    alphas: torch.Tensor
    size_step: int

    def models(self) -> dict[str, Any]:
        """The parts that can carry a LoRA, by name."""
        return {"text_encoder": self.text_encoder, "unet": self.unet}


class Family(Protocol):
    """`found` is the base model at hand, `size_step` what its picture sides must be multiples of."""

    found: FoundBase

    def load(self, *, v_parameterization: bool | None = None) -> Parts:
        """All parts in 32 bit on the CPU, frozen. Raises ModelFileError and its kin."""

    def place(self, parts: Parts, device: str, dtype: torch.dtype) -> None:
        """Move to the device; hold what is frozen and heavy in `dtype`."""

    def targets(self, parts: Parts, *, unet: bool = True, text_encoder: bool = True) -> list[Target]:
        """The layers that get a LoRA: exactly those that Kohya's trainer takes by default."""

    def encode_text(self, parts: Parts, captions: Sequence[str], clip_skip: int | None) -> torch.Tensor:
        """[b, n, d]."""

    def encode_pictures(self, parts: Parts, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the latents, [b, c, h, w] each, of pixels [b, 3, H, W] in -1..1;
        scaled as the denoiser wants them."""

    def decode_latents(self, parts: Parts, latents: torch.Tensor) -> torch.Tensor:
        """Pixels [b, 3, H, W] in 0..1."""

    def noisy_input(
        self, parts: Parts, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """What the denoiser sees, [b, c, h, w]."""

    def target(
        self, parts: Parts, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """What the denoiser should answer, [b, c, h, w]."""

    def loss_weights(
        self, parts: Parts, timesteps: torch.Tensor, min_snr_gamma: float | None
    ) -> torch.Tensor:
        """One factor for each sample's loss, [b]."""

    def predict(
        self, parts: Parts, noisy: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor
    ) -> torch.Tensor:
        """The denoiser's answer, [b, c, h, w]."""

    def pipeline(self, parts: Parts, sampler: str = "") -> Any:
        """The diffusers pipeline over these very parts. `sampler` is a catalog name; empty: the base's
        own."""

    def metadata(self, parts: Parts) -> dict[str, str]:
        """What a LoRA file says about its base: Kohya's `ss_*` and `modelspec.*` keys."""
