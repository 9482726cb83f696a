"""What the engine asks of a family of base models. Everything else it does is the same for all of them.

Shape letters: b batch, c latent channels, h w latent height and width, n tokens, d text width, e width of the
pooled text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch

from lora_studio.families.vae import Codec

if TYPE_CHECKING:
    from lora_studio.config import TrainConfig
    from lora_studio.families.base_files.found_base import FoundBase


@dataclass(frozen=True, kw_only=True)
class Target:
    """A layer that receives a LoRA: the part it belongs to (`text_encoder`, `text_encoder_2` or `unet`), its
    module path there, and its name in the file."""

    part: str
    module: str
    name: str


@dataclass(frozen=True, kw_only=True)
class TextOutput:
    """Encoded captions as the denoiser takes them: `states` [b, n, d], and `pooled` [b, e] where the family
    has it. Only the family looks inside."""

    states: torch.Tensor
    pooled: torch.Tensor | None = None

    @staticmethod
    def stack(outputs: Sequence[TextOutput]) -> TextOutput:
        """One batch of several."""
        pooled = [output.pooled for output in outputs if output.pooled is not None]
        return TextOutput(
            states=torch.cat([output.states for output in outputs]),
            pooled=torch.cat(pooled) if pooled else None,
        )

    def to(self, where: str | torch.device | torch.dtype) -> TextOutput:
        """On another device, or in another number format."""
        pooled = None if self.pooled is None else self.pooled.to(where)
        return TextOutput(states=self.states.to(where), pooled=pooled)


def prompt_arguments(wanted: TextOutput, unwanted: TextOutput) -> dict[str, torch.Tensor]:
    """What a diffusers pipeline is called with in place of prompt and negative prompt."""
    found = {
        "prompt_embeds": wanted.states,
        "negative_prompt_embeds": unwanted.states,
        "pooled_prompt_embeds": wanted.pooled,
        "negative_pooled_prompt_embeds": unwanted.pooled,
    }
    return {name: tensor for name, tensor in found.items() if tensor is not None}


TEXT_ENCODERS = ("text_encoder", "text_encoder_2")


@dataclass(kw_only=True)
class Parts:
    """A loaded base model. `alphas` is the noise schedule (cumulative product, one for each timestep);
    `prediction_type` epsilon or v_prediction; `home` where it was placed; `weight_alphas` the schedule of the
    loss weights, where that isn't `alphas`; `vae_overflows` is as a Codec takes it. The text encoders are
    None while they are out of memory (see `Family.free_text`); a family with one has no second."""

    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    scheduler_config: Mapping[str, Any]
    prediction_type: str
    alphas: torch.Tensor
    tokenizer_2: Any = None
    text_encoder_2: Any = None
    home: tuple[str, torch.dtype] | None = None
    weight_alphas: torch.Tensor | None = None
    vae_overflows: bool = False

    @cached_property
    def codec(self) -> Codec:
        return Codec(self.vae, overflows=self.vae_overflows)

    @property
    def dtype(self) -> torch.dtype:
        """The number format that the denoiser takes latents in."""
        dtype: torch.dtype = self.unet.dtype
        return dtype

    @property
    def native_size(self) -> tuple[int, int]:
        """Width and height in pixels that the base says it was made for."""
        latent = self.unet.config.sample_size
        height, width = (latent, latent) if isinstance(latent, int) else latent
        return width * self.codec.step, height * self.codec.step

    def models(self) -> dict[str, Any]:
        """The parts in memory that can carry a LoRA, by name, text encoders first."""
        found = {name: getattr(self, name) for name in (*TEXT_ENCODERS, "unet")}
        return {name: model for name, model in found.items() if model is not None}


class Family(Protocol):
    """`found` is the base model at hand, `size_step` what its picture sides must be multiples of."""

    found: FoundBase

    def load(self, *, v_parameterization: bool | None = None) -> Parts:
        """All parts on the CPU, frozen, in the number format of their files, whose pages are only read when
        they are used. Raises ModelFileError and its kin."""

    def place(self, parts: Parts, device: str, dtype: torch.dtype) -> None:
        """Move to the device; hold what is frozen and heavy in `dtype`, all else and the autoencoder in 32
        bit."""

    def targets(self, parts: Parts, *, unet: bool = True, text_encoder: bool = True) -> list[Target]:
        """The layers that get a LoRA: exactly those that Kohya's trainer takes by default."""

    def layer_name(self, part: str, module: str) -> str:
        """What a LoRA file calls any layer of a part."""

    def encode_text(
        self,
        parts: Parts,
        captions: Sequence[str],
        clip_skip: int | None = None,
        *,
        max_token_length: int | None = None,
        weighted: bool = False,
    ) -> TextOutput:
        """`max_token_length` 75, 150 or 225 tokens (None: 75); `weighted` reads brackets in the captions.
        Brings text encoders back that were freed."""

    def free_text(self, parts: Parts) -> None:
        """Take the text encoders out of memory. To be called only while they are as the base has them."""

    def noisy_input(
        self, parts: Parts, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """What the denoiser sees, [b, c, h, w]."""

    def target(
        self, parts: Parts, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """What the denoiser should answer, [b, c, h, w]."""

    def predict(
        self,
        parts: Parts,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        text: TextOutput,
        sizes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The denoiser's answer, [b, c, h, w]. `sizes` [b, 6] says in pixels how each picture came to be:
        original height and width, top and left of the cut, height and width of the result; None: uncut."""

    def pipeline(self, parts: Parts, sampler: str = "") -> Any:
        """The diffusers pipeline over these very parts. `sampler` is a catalog name; empty: the base's
        own."""

    def metadata(self, parts: Parts) -> dict[str, str]:
        """What a LoRA file says about its base: Kohya's `ss_*` and `modelspec.*` keys."""

    def ignored_settings(self, config: TrainConfig) -> list[str]:
        """Sentences on settings that have no effect in this family."""
