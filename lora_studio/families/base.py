"""The parts of a base model that training and generation ask for, each family's behind the same names;
everything else both engines do is the same for all families.

Shape letters: b batch, c latent channels, h w latent height and width, n tokens, d text width, e width of the
pooled text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from lora_studio.families.encoders.text_output import TextOutput as TextOutput
from lora_studio.families.vae import Codec

if TYPE_CHECKING:
    from lora_studio.config import TrainConfig
    from lora_studio.config_groups import NoiseGroup
    from lora_studio.families.base_files.found_base import FoundBase
    from lora_studio.families.encoders.clip_encoder import CaptionWindows, PromptWindows


@dataclass(frozen=True, kw_only=True)
class Target:
    """A layer that gets a LoRA: its part (DENOISER or one of TEXT_ENCODERS), module path, name in files."""

    part: str
    module: str
    name: str


class Process(Protocol):
    """The way noise goes in a base model. Times are its own: [b], or one number."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration of the base's own scheduler."""

    @property
    def times(self) -> int:
        """The count of times; the last is nearly pure noise."""

    @property
    def sampler(self) -> str:
        """The catalog's name for the base's own scheduler; a usual one if it has none there."""

    @property
    def has_shift(self) -> bool:
        """Whether the steps of its samplers can be moved towards noise."""

    def with_shift(self, shift: float) -> Process:
        """A process of the same noise with the steps of its samplers moved, where that can be."""

    def unused(self, noise: NoiseGroup) -> tuple[str, ...]:
        """Names of settings that have no effect on this base, whatever their values are."""

    def to(self, device: str) -> None: ...

    def prepare(self, noise: NoiseGroup) -> None:
        """Get ready for a training with these settings; the samplers keep to the base's own noise. Raises
        ConfigError for settings that don't go with the base."""

    def draw_time(self, noise: NoiseGroup, generator: torch.Generator, size: tuple[int, int]) -> torch.Tensor:
        """A time to train at, [1]; `size` is height and width of the latents."""

    def add_noise(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The latents that the denoiser sees, [b, c, h, w]."""

    def target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The answer that the denoiser should give, [b, c, h, w]."""

    def prediction(
        self, answer: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor, noise: NoiseGroup
    ) -> torch.Tensor:
        """The denoiser's answer to `noisy` as the loss compares it with the target, [b, c, h, w]."""

    def sigmas(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Noise by signal, [b]."""

    def loss_weights(self, timesteps: torch.Tensor, noise: NoiseGroup) -> torch.Tensor:
        """The weight of each sample's loss, [b]."""

    def scheduler(self, name: str, size: tuple[int, int], steps: int) -> Any:
        """A scheduler of diffusers for a sampler of the catalog; `size` is height and width of the latents.
        Raises ConfigError for a name that this kind of noise doesn't have."""

    def set_steps(self, scheduler: Any, steps: int, size: tuple[int, int], device: str) -> None:
        """Lay out the steps of such a scheduler. Raises ValueError for a number that it can't do."""

    def guess(
        self, scheduler: Any, seen: torch.Tensor, answer: torch.Tensor, time: torch.Tensor
    ) -> torch.Tensor:
        """The clean latents that an answer to `seen` implies, [b, c, h, w] in 32 bit."""


class PromptEncoder(Protocol):
    """The way from texts to the denoiser. Only the two `encode_*` bring freed encoders back."""

    def encode_captions(self, captions: Sequence[str], how: CaptionWindows) -> TextOutput:
        """One batch, with gradients where they are on."""

    def encode_prompts(self, prompt: str, negative: str, how: PromptWindows) -> tuple[TextOutput, TextOutput]:
        """A prompt and a negative prompt, of one length."""

    def caption_layer(self, clip_skip: int | None) -> int:
        """The `clip_skip` that captions are encoded with where this one is asked for."""

    def count_caption(self, caption: str, *, weighted: bool) -> int:
        """The count of a caption's tokens, whatever is read of them."""

    def caption_limit(self, max_token_length: int | None) -> tuple[int, str]:
        """The most tokens of a caption that are read, and a hint for those who need more."""


class BaseModel(Protocol):
    """A loaded base model as training and generation see it. `process` is how its noise goes, `codec` what is
    between pixels and latents, `prompts` what is between texts and the denoiser."""

    found: FoundBase

    @property
    def process(self) -> Process: ...

    @property
    def codec(self) -> Codec: ...

    @property
    def prompts(self) -> PromptEncoder: ...

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
    def takes_guidance(self) -> bool:
        """Whether the denoiser is told a distilled guidance, whatever it is asked."""

    @property
    def widths(self) -> tuple[int, int]:
        """Channels of the denoiser's first level and heads of its attention: what memory goes by."""

    @property
    def size_step(self) -> int:
        """Pixels; what the sides of a picture must be multiples of."""

    @property
    def blocks(self) -> Sequence[Any]:
        """The denoiser's transformer blocks in the order in which they compute, each of them computed anew as
        a whole with gradient checkpointing."""

    def watched(self, keep: Callable[[torch.Tensor], None]) -> AbstractContextManager[None]:
        """Give `keep` what some blocks of the denoiser make of a picture, [b, channels, places] each, at each
        call inside the block: it tells what the picture shows."""

    def models(self) -> dict[str, Any]:
        """The parts in memory that can carry a LoRA, by name, text encoders first."""

    def free_text(self) -> None:
        """Take unchanged text encoders out of memory; what is encoded later brings them back."""

    texts_held_as: str
    """The format of few bits for text encoders, one of `quantised_weights.FORMATS`; empty: none."""

    def place(self, device: str, dtype: torch.dtype) -> None:
        """Move to the device; hold what is frozen and heavy in `dtype`, all else in 32 bit."""

    def targets(self, *, denoiser: bool = True, texts: bool = True, conv: bool = False) -> list[Target]:
        """The layers that get a LoRA, Kohya's trainer's in its order; `conv`: of residual blocks too."""

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
        the result; None: uncut. `guidance` only where it is embedded or taken; None where it is taken: the
        usual one."""


class Family(Protocol):
    """A loader of base models of one family. `found` is the one at hand."""

    found: FoundBase

    def load(self, *, v_parameterization: bool | None = None) -> BaseModel:
        """The base on the CPU, frozen, in the number format of its files, whose pages are only read when they
        are used. Raises ModelFileError and its kin."""
