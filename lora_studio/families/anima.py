"""Anima (CircleStone Labs 2026): Cosmos' transformer for pictures, flow matching, texts through Qwen3 and an
adapter that begins with T5's tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiffusionPipeline

from lora_studio.errors import ConfigError
from lora_studio.families.attention_layers import state_signatures
from lora_studio.families.base import Target, TextOutput
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.encoders.adapter_encoder import AdapterEncoder
from lora_studio.families.flow import TIMES, Flow
from lora_studio.families.vae import Codec
from lora_studio.families.weights.loading import free_model, load_pipeline, place_model
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.lora.file.cosmos_keys import TEXT_ADAPTER, to_cosmos
from lora_studio.lora.file.keys import DENOISER, TEXT_ENCODERS, UNET, layer_name, unet_name

if TYPE_CHECKING:
    from lora_studio.config import TrainConfig

LONGEST_TEXT = 512
WATCHED = 4
"""Blocks, evenly through the denoiser, whose outputs tell what a picture shows."""
TRAINED = (".attn1.", ".attn2.", ".ff.")
"""Parts of a block that sd-scripts trains; its modulation stays as it is."""
TEXT = TEXT_ENCODERS[0]


@dataclass(kw_only=True, eq=False)
class AnimaModel:
    """The BaseModel of Anima. `home` is where it was placed. Language model and adapter are None while they
    are out of memory, and `reload` brings them back."""

    found: FoundBase
    tokenizer: Any
    t5_tokenizer: Any
    text_encoder: Any
    text_conditioner: Any
    vae: Any
    transformer: Any
    process: Flow
    home: tuple[str, torch.dtype] | None = None
    reload: Callable[[], AnimaModel] | None = None

    @cached_property
    def codec(self) -> Codec:
        return Codec(self.vae)

    @property
    def prompts(self) -> AdapterEncoder:
        return AdapterEncoder(self._encoders, self.tokenizer, self.t5_tokenizer, longest=LONGEST_TEXT)

    @property
    def denoiser(self) -> Any:
        return self.transformer

    @property
    def dtype(self) -> torch.dtype:
        """32 bit, whatever the weights are: `denoise` rounds what it gets, the way from noise to picture
        doesn't."""
        return torch.float32

    @property
    def native_size(self) -> tuple[int, int]:
        native = self.found.traits.native_size
        return native, native

    @property
    def embeds_guidance(self) -> bool:
        return False

    @property
    def takes_guidance(self) -> bool:
        return False

    @property
    def widths(self) -> tuple[int, int]:
        """A token is a square of latent pixels."""
        config = self.transformer.config
        return (
            config.num_attention_heads * config.attention_head_dim // self._patch**2,
            config.num_attention_heads,
        )

    @property
    def size_step(self) -> int:
        return self._patch * self.codec.step

    @contextmanager
    def watched(self, keep: Callable[[torch.Tensor], None]) -> Iterator[None]:
        """All tokens are the picture's."""

        def hook(module: torch.nn.Module, given: object, output: torch.Tensor) -> None:
            keep(output.transpose(1, 2))

        blocks = self.transformer.transformer_blocks
        hooks = [block.register_forward_hook(hook) for block in blocks[:: -(-len(blocks) // WATCHED)]]
        try:
            yield
        finally:
            for one in hooks:
                one.remove()

    def models(self) -> dict[str, Any]:
        found = {TEXT: self.text_encoder, TEXT_ADAPTER: self.text_conditioner, DENOISER: self.transformer}
        return {part: model for part, model in found.items() if model is not None}

    def place(self, device: str, dtype: torch.dtype) -> None:
        """Move as every base does, the adapter in 32 bit: its norms want inputs in their own format."""
        for part, model in self.models().items():
            exact = torch.float32 if part == TEXT_ADAPTER else dtype
            place_model(model, device, exact, read_ahead=part != DENOISER)
        place_model(self.vae, device, torch.float32, read_ahead=False)
        self.home = (device, dtype)

    def free_text(self) -> None:
        models = [self.text_encoder, self.text_conditioner]
        self.text_encoder = self.text_conditioner = None
        for model in models:
            if model is not None:
                free_model(model)

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

    def pipeline(self) -> Any:
        return AnimaParts(
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            t5_tokenizer=self.t5_tokenizer,
            text_conditioner=self.text_conditioner,
            transformer=self.transformer,
            vae=self.vae,
            scheduler=_scheduler(self.process.config),
        )

    def metadata(self) -> dict[str, str]:
        return {
            "ss_base_model_version": "anima",
            "ss_v2": "False",
            "modelspec.architecture": "anima-preview/lora",
            "modelspec.implementation": "https://huggingface.co/circlestone-labs/Anima",
        }

    def ignored_settings(self, config: TrainConfig) -> list[str]:
        model = config.model
        given = {
            "v_parameterization": model.v_parameterization is not None,
            "clip_skip": (model.clip_skip or 1) > 1,
            "max_token_length": model.max_token_length is not None,
            "weighted_captions": model.weighted_captions,
        }
        names = ", ".join(name for name, is_given in given.items() if is_given)
        found = [f"{names}: without effect on this base model."] if names else []
        if config.trains_text_encoder:
            found.append(
                "What the text encoder learns is drawn here; ComfyUI passes it over, by the names that "
                "sd-scripts gives it."
            )
        return found

    @property
    def _patch(self) -> int:
        """Latent pixels of a token's side."""
        return int(self.transformer.config.patch_size[-1])

    def _check_size(self, noisy: torch.Tensor) -> None:
        most = max(self.transformer.rope.max_size) * self._patch
        if max(noisy.shape[-2:]) > most:
            raise ConfigError(
                f"This base model draws at most {most * self.codec.step} pixels a side.",
                "Take a smaller size.",
                field="width" if noisy.shape[-1] > most else "height",
            )

    def _encoders(self) -> tuple[Any, Any]:
        if self.text_encoder is None and self.reload is not None:
            fresh = self.reload()
            self.text_encoder, self.text_conditioner = fresh.text_encoder, fresh.text_conditioner
            if self.home is not None:
                place_model(self.text_encoder, *self.home)
                place_model(self.text_conditioner, self.home[0], torch.float32)
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
        """The parts in `folder`, each in its number format. Raises what the libraries raise."""
        models, others = _part_classes()
        parts = {
            name: kind.from_pretrained(
                folder, subfolder=name, dtype=dtype.get(name, dtype["default"]), **options
            )
            for name, kind in models.items()
        }
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


def _scheduler(config: Mapping[str, Any]) -> Any:
    import diffusers

    return getattr(diffusers, config["_class_name"]).from_config(config)


class Anima:
    """The Family of Anima."""

    def __init__(self, found: FoundBase) -> None:
        self.found = found

    def load(self, *, v_parameterization: bool | None = None) -> AnimaModel:
        """The base as it is: its prediction can't be chosen. Raises BrokenFile and its kin."""
        parts = load_pipeline(AnimaParts, self.found, {})
        # Else torchvision resizes a mask of zeros at each call; `denoise` hands over one that fits.
        parts.transformer.register_to_config(concat_padding_mask=False)
        loaded = AnimaModel(
            found=self.found,
            tokenizer=parts.tokenizer,
            t5_tokenizer=parts.t5_tokenizer,
            text_encoder=parts.text_encoder,
            text_conditioner=parts.text_conditioner,
            vae=parts.vae,
            transformer=parts.transformer,
            process=Flow(config=dict(parts.scheduler.config)),
            reload=self.load,
        )
        for model in (*loaded.models().values(), loaded.vae):
            model.requires_grad_(False).eval()
        state_signatures(loaded.transformer)
        return loaded
