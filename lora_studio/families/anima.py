"""Anima (CircleStone Labs 2026): Cosmos' transformer, flow matching, texts by Qwen3 and an adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from diffusers import DiffusionPipeline

from lora_studio.errors import ConfigError
from lora_studio.families.attention_layers import state_signatures
from lora_studio.families.base import Target, TextOutput
from lora_studio.families.encoders.adapter_encoder import AdapterEncoder
from lora_studio.families.flow import TIMES
from lora_studio.families.flow_model import PATCH, FlowFamily, FlowModel, watching
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.lora.file.cosmos_keys import TEXT_ADAPTER, to_cosmos
from lora_studio.lora.file.keys import DENOISER, TEXT_ENCODERS, UNET, layer_name, unet_name

if TYPE_CHECKING:
    from lora_studio.config import TrainConfig

LONGEST_TEXT = 512
TRAINED = (".attn1.", ".attn2.", ".ff.")
"""Parts of a block that sd-scripts trains; its modulation stays as it is."""
TEXT = TEXT_ENCODERS[0]


@dataclass(kw_only=True, eq=False)
class AnimaModel(FlowModel):
    """The BaseModel of Anima: a language model, and behind it an adapter for texts, which `text_conditioner`
    is in diffusers. Its norms want inputs in their own format."""

    t5_tokenizer: Any
    text_conditioner: Any

    fixed_texts = ""
    text_parts: ClassVar[Mapping[str, str]] = {TEXT: "text_encoder", TEXT_ADAPTER: "text_conditioner"}
    exact_parts = (TEXT_ADAPTER,)
    components = (*FlowModel.components, "t5_tokenizer", "text_conditioner")

    @property
    def prompts(self) -> AdapterEncoder:
        return AdapterEncoder(self._encoders, self.tokenizer, self.t5_tokenizer, longest=LONGEST_TEXT)

    @property
    def widths(self) -> tuple[int, int]:
        """A token is a square of latent pixels."""
        config = self.transformer.config
        heads: int = config.num_attention_heads
        return heads * config.attention_head_dim // PATCH**2, heads

    @property
    def blocks(self) -> Sequence[Any]:
        return [*self.transformer.transformer_blocks]

    @contextmanager
    def watched(self, keep: Callable[[torch.Tensor], None]) -> Iterator[None]:
        """All tokens are the picture's."""

        def hook(module: torch.nn.Module, given: object, output: torch.Tensor) -> None:
            keep(output.transpose(1, 2))

        with watching(self.transformer.transformer_blocks, hook):
            yield

    def targets(self, *, denoiser: bool = True, texts: bool = True, conv: bool = False) -> list[Target]:
        """The linear layers of the language model, and those of the main blocks but for their modulation, as
        sd-scripts takes them. There are no convolutions, and the adapter stays as it is."""
        found = []
        for part, model in self.models().items():
            wanted = {TEXT: texts, DENOISER: denoiser}.get(part, False)
            for path, module in model.named_modules() if wanted else ():
                is_trained = part == TEXT or any(one in path for one in TRAINED)
                if isinstance(module, torch.nn.Linear) and is_trained:
                    found.append(Target(part=part, module=path, name=self.layer_name(part, path)))
        return found

    def layer_name(self, part: str, module: str) -> str:
        """The denoiser's layers have their makers' names in the file."""
        if part != DENOISER:
            return layer_name(f"{part}.{module}")
        return f"{UNET}_{to_cosmos(unet_name(module).removeprefix(f'{UNET}_'))}"

    def denoise(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        text: TextOutput,
        sizes: torch.Tensor | None = None,
        *,
        guidance: float | None = None,
    ) -> torch.Tensor:
        """The transformer is told the share of noise, and that nothing of the picture is padding. Raises
        ConfigError for a picture that is larger than it has places for."""
        films = noisy.to(self.transformer.dtype)[:, :, None]
        self._check_size(noisy)
        answer: torch.Tensor = self.transformer(
            films,
            times.to(noisy.device).float().expand(len(noisy)) / TIMES,
            text.to(noisy.device).to(films.dtype).states,
            condition_mask=torch.zeros_like(films[:, :1]),
            return_dict=False,
        )[0]
        return answer[:, :, 0].float()

    @classmethod
    def pipeline_class(cls) -> Any:
        return AnimaParts

    def metadata(self) -> dict[str, str]:
        return {
            "ss_base_model_version": "anima",
            "ss_v2": "False",
            "modelspec.architecture": "anima-preview/lora",
            "modelspec.implementation": "https://huggingface.co/circlestone-labs/Anima",
        }

    def ignored_settings(self, config: TrainConfig) -> list[str]:
        found = super().ignored_settings(config)
        if config.trains_text_encoder:
            found.append(
                "ComfyUI passes over what the text encoder learns, by the names that sd-scripts gives it: "
                "`lora-studio inspect FILE --fix spelling=comfyui` writes a copy that it reads whole."
            )
        return found

    def _check_size(self, noisy: torch.Tensor) -> None:
        most = max(self.transformer.rope.max_size) * PATCH
        if max(noisy.shape[-2:]) > most:
            raise ConfigError(
                f"This base model draws at most {most * self.codec.step} pixels a side.",
                "Take a smaller size.",
                field="width" if noisy.shape[-1] > most else "height",
            )

    def _encoders(self) -> tuple[Any, Any]:
        self._bring_texts_back()
        return self.text_encoder, self.text_conditioner


class AnimaParts(DiffusionPipeline):
    """The parts of Anima in diffusers' layout, as far as they are loaded and moved together. diffusers has no
    plain pipeline for it, and its modular one asks the network for parts that a folder lacks."""

    model_cpu_offload_seq = "text_encoder->text_conditioner->transformer->vae"

    def __init__(
        self,
        text_encoder: Any,
        tokenizer: Any,
        t5_tokenizer: Any,
        text_conditioner: Any,
        transformer: Any,
        vae: Any,
        scheduler: Any,
    ) -> None:
        super().__init__()
        self.register_modules(
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            t5_tokenizer=t5_tokenizer,
            text_conditioner=text_conditioner,
            transformer=transformer,
            vae=vae,
            scheduler=scheduler,
        )

    @classmethod
    def from_pretrained(cls, folder: Path, *, dtype: Mapping[str, torch.dtype], **options: Any) -> AnimaParts:
        """The parts in `folder`, each in its number format; a part that `options` name is as they say. Raises
        what the libraries raise."""
        models, others = _part_classes()
        parts = {name: options.pop(name) for name in models.keys() & options.keys()}
        for name in models.keys() - parts.keys():
            parts[name] = models[name].from_pretrained(
                folder, subfolder=name, dtype=dtype.get(name, dtype["default"]), **options
            )
        for name, kind in others.items():
            parts[name] = kind.from_pretrained(folder, subfolder=name, local_files_only=True)
        return cls(**parts)


def _part_classes() -> tuple[dict[str, Any], dict[str, Any]]:
    """The classes of the models, and those of the parts without weights. Imported late and quietly:
    transformers warns on the console about image classes that are not used here."""
    with quiet_libraries():
        from diffusers import (
            AnimaTextConditioner,
            AutoencoderKLQwenImage,
            CosmosTransformer3DModel,
            FlowMatchEulerDiscreteScheduler,
        )
        from transformers import Qwen2Tokenizer, Qwen3Model, T5TokenizerFast
    models = {
        "text_encoder": Qwen3Model,
        "text_conditioner": AnimaTextConditioner,
        "transformer": CosmosTransformer3DModel,
        "vae": AutoencoderKLQwenImage,
    }
    others = {
        "tokenizer": Qwen2Tokenizer,
        "t5_tokenizer": T5TokenizerFast,
        "scheduler": FlowMatchEulerDiscreteScheduler,
    }
    return models, others


class Anima(FlowFamily):
    """The Family of Anima."""

    model = AnimaModel

    def prepare_denoiser(self, transformer: Any) -> None:
        # Else torchvision resizes a mask of zeros at each call; `denoise` hands over one that fits.
        transformer.register_to_config(concat_padding_mask=False)
        state_signatures(transformer)
