"""The parts of a base model that training and generation ask for, each family's behind the same names;
everything else both engines do is the same for all families.

Shape letters: b batch, c latent channels, h w latent height and width, n tokens, d text width, e width of the
pooled text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from lora_studio.families.ddpm import DDPM
from lora_studio.families.text_output import TextOutput as TextOutput
from lora_studio.families.vae import Codec

if TYPE_CHECKING:
    from lora_studio.config import TrainConfig
    from lora_studio.families.base_files.found_base import FoundBase
    from lora_studio.families.clip_encoder import ClipEncoder


@dataclass(frozen=True, kw_only=True)
class Target:
    """A layer that receives a LoRA: the part it belongs to (DENOISER or one of TEXT_ENCODERS), its module
    path there, and its name in the file."""

    part: str
    module: str
    name: str


class BaseModel(Protocol):
    """A loaded base model as training and generation see it. `process` is how its noise goes, `codec` what is
    between pixels and latents, `prompts` what is between texts and the denoiser."""

    found: FoundBase
    process: DDPM

    @property
    def codec(self) -> Codec: ...

    @property
    def prompts(self) -> ClipEncoder: ...

    @property
    def denoiser(self) -> Any:
        """The module; it may carry a LoRA."""

    @property
    def dtype(self) -> torch.dtype:
        """The number format that the denoiser takes latents in."""

    @property
    def native_size(self) -> tuple[int, int]:
        """Width and height in pixels that the base says it was made for."""

    @property
    def embeds_guidance(self) -> bool:
        """Whether the denoiser is told the guidance instead of being asked twice."""

    @property
    def widths(self) -> tuple[int, int]:
        """Channels of the denoiser's first level, and heads of its attention there: what its memory goes
        by."""

    @property
    def inner_blocks(self) -> Sequence[torch.nn.Module]:
        """The denoiser's blocks whose outputs tell what a picture shows, [b, channels, h, w] each."""

    def models(self) -> dict[str, Any]:
        """The parts in memory that can carry a LoRA, by name, text encoders first."""

    def free_text(self) -> None:
        """Take the text encoders out of memory; what is encoded later brings them back. To be called only
        while they are as the base has them."""

    def place(self, device: str, dtype: torch.dtype) -> None:
        """Move to the device; hold what is frozen and heavy in `dtype`, all else and the autoencoder in 32
        bit."""

    def targets(self, *, denoiser: bool = True, texts: bool = True, conv: bool = False) -> list[Target]:
        """The layers that get a LoRA: exactly those that Kohya's trainer takes, in its order; with `conv`
        those of the residual blocks, too."""

    def layer_name(self, part: str, module: str) -> str:
        """The name in a LoRA file of any layer of a part."""

    def pipeline(self) -> Any:
        """The diffusers pipeline over these very modules, with the base's own scheduler."""

    def metadata(self) -> dict[str, str]:
        """A LoRA file's metadata on its base: Kohya's `ss_*` and `modelspec.*` keys."""

    def ignored_settings(self, config: TrainConfig) -> list[str]:
        """Sentences on settings that have no effect in this family."""

    def denoise(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        text: TextOutput,
        sizes: torch.Tensor | None = None,
        *,
        guidance: float | None = None,
    ) -> torch.Tensor:
        """The denoiser's answer, [b, c, h, w]; `times` are [b] or one for all. `sizes` [b, 6] says in pixels
        how each picture came to be: original height and width, top and left of the cut, height and width of
        the result; None: uncut. `guidance` only where it is embedded."""


class Family(Protocol):
    """A loader of base models of one family. `found` is the one at hand."""

    found: FoundBase

    def load(self, *, v_parameterization: bool | None = None) -> BaseModel:
        """The base on the CPU, frozen, in the number format of its files, whose pages are only read when they
        are used. Raises ModelFileError and its kin."""
