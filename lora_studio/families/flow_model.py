"""The common part of base models that are trained by flow matching with a transformer over patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.flow import Flow
from lora_studio.families.vae import Codec
from lora_studio.families.weights.loading import free_model, load_pipeline, place_model
from lora_studio.families.weights.quantised_weights import place_held
from lora_studio.lora.file.keys import DENOISER, TEXT_ENCODERS, layer_name

if TYPE_CHECKING:
    from lora_studio.config import TrainConfig
    from lora_studio.families.base import BaseModel

PATCH = 2
"""Latent pixels of a side that are one token."""
WATCHED = 4
"""Blocks, evenly through a denoiser, whose outputs tell what a picture shows."""
TEXTS_ALONE: Mapping[str, Any] = {"transformer": None, "vae": None}
"""Parts that a pipeline for texts alone is loaded without."""


@dataclass(kw_only=True, eq=False)
class FlowModel:
    """The part of a BaseModel that does not differ between these families. `home` is where it was placed. The
    text encoders are None while they are out of memory, and `reload` loads an object that has them; a family
    with one has no second."""

    found: FoundBase
    tokenizer: Any
    text_encoder: Any
    vae: Any
    transformer: Any
    process: Flow
    tokenizer_2: Any = None
    text_encoder_2: Any = None
    home: tuple[str, torch.dtype] | None = None
    texts_held_as: str = ""
    reload: Callable[[], Any] | None = None

    fixed_texts: ClassVar[str] = (
        "The text encoder stays as it is: with this base model only the denoiser is trained."
    )
    """The sentence where text encoders are to be trained that can't be; empty where they can."""

    @cached_property
    def codec(self) -> Codec:
        return Codec(self.vae)

    @property
    def denoiser(self) -> Any:
        return self.transformer

    @property
    def dtype(self) -> torch.dtype:
        """32 bit, whatever the weights: `denoise` rounds what it gets, the way to the picture doesn't."""
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
        return self.process.takes_guidance

    @property
    def size_step(self) -> int:
        return PATCH * self.codec.step

    text_parts: ClassVar[Mapping[str, str]] = dict(zip(TEXT_ENCODERS, TEXT_ENCODERS, strict=True))
    """Parts that only texts need, in their order, and the attribute of each."""
    exact_parts: ClassVar[tuple[str, ...]] = ()
    """Parts that are held in 32 bit, whatever the rest is held in."""
    components: ClassVar[Sequence[str]] = ("tokenizer", "text_encoder", "vae", "transformer")
    """Parts of diffusers' pipeline, but for its scheduler."""

    pipeline_class: ClassVar[Callable[[], Any]]
    """diffusers' class, imported late and quietly: transformers warns about image classes that go unused."""

    def pipeline(self) -> Any:
        import diffusers

        config = self.process.config
        scheduler = getattr(diffusers, config["_class_name"]).from_config(config)
        parts = {name: getattr(self, name) for name in self.components}
        pipeline = type(self).pipeline_class()(**parts, scheduler=scheduler)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def models(self) -> dict[str, Any]:
        texts = {part: getattr(self, name) for part, name in self.text_parts.items()}
        return {part: model for part, model in texts.items() if model is not None} | {
            DENOISER: self.transformer
        }

    def place(self, device: str, dtype: torch.dtype) -> None:
        self.home = (device, dtype)
        for part, model in self.models().items():
            self._place(part, model)
        place_model(self.vae, device, torch.float32, read_ahead=False)

    def free_text(self) -> None:
        for name in self.text_parts.values():
            model = getattr(self, name)
            if model is not None:
                setattr(self, name, None)
                free_model(model)

    def layer_name(self, part: str, module: str) -> str:
        return layer_name(f"{part}.{module}")

    def freeze(self) -> None:
        """Keep all that was loaded as it is."""
        for model in (*self.models().values(), self.vae):
            model.requires_grad_(False).eval()

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
        return [*found, self.fixed_texts] if config.trains_text_encoder and self.fixed_texts else found

    def _bring_texts_back(self) -> None:
        """Load and place the text encoders again where they were freed."""
        if self.text_encoder is not None or self.reload is None:
            return
        fresh = self.reload()
        for part, name in self.text_parts.items():
            model = getattr(fresh, name, None)
            if model is not None:
                model.requires_grad_(False).eval()
                if self.home is not None:
                    self._place(part, model)
            setattr(self, name, model)

    def _place(self, part: str, model: Any) -> None:
        assert self.home is not None
        device, dtype = self.home
        is_exact, is_text = part in self.exact_parts, part != DENOISER
        held = self.texts_held_as if is_text and not is_exact else ""
        place_held(model, device, torch.float32 if is_exact else dtype, held, read_ahead=is_text)


class FlowFamily:
    """The part of a Family that does not differ between these."""

    model: type[FlowModel]
    process: type[Flow] = Flow

    def __init__(self, found: FoundBase) -> None:
        self.found = found

    def load(self, *, v_parameterization: bool | None = None) -> BaseModel:
        """The base as it is: its prediction can't be chosen. Raises BrokenFile and its kin."""
        pipeline = load_pipeline(self.model.pipeline_class(), self.found, {})
        self.prepare_texts(pipeline)
        self.prepare_denoiser(pipeline.transformer)
        process = self.process(
            config=dict(pipeline.scheduler.config),
            takes_guidance=bool(pipeline.transformer.config.get("guidance_embeds")),
        )
        parts = {name: getattr(pipeline, name) for name in self.model.components}
        loaded: Any = self.model(found=self.found, process=process, reload=self.load_texts, **parts)
        loaded.freeze()
        base: BaseModel = loaded
        return base

    def load_texts(self) -> Any:
        """A pipeline of nothing but what reads texts: the denoiser is the largest part by far."""
        pipeline = load_pipeline(self.model.pipeline_class(), self.found, TEXTS_ALONE)
        self.prepare_texts(pipeline)
        return pipeline

    def prepare_texts(self, pipeline: Any) -> None:
        """Change what reads texts into what it is here. Raises BrokenFile."""

    def prepare_denoiser(self, transformer: Any) -> None:
        """Change the denoiser into what it is here."""


@contextmanager
def watching(blocks: Sequence[Any], hook: Callable[..., None]) -> Iterator[None]:
    """Call `hook` after each of WATCHED blocks inside the block, as torch does after a module."""
    hooks = [block.register_forward_hook(hook) for block in blocks[:: -(-len(blocks) // WATCHED)]]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()
