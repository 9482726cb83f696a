"""Stable Diffusion 1.x and 2.x, of any size: epsilon or v-prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from diffusers import Transformer2DModel
from diffusers.models.attention import BasicTransformerBlock

from lora_studio.catalog import SD2
from lora_studio.families.attention_layers import state_signatures
from lora_studio.families.base import Target, TextOutput
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.ddpm import DDPM
from lora_studio.families.encoders.clip_encoder import ClipEncoder
from lora_studio.families.vae import Codec
from lora_studio.families.weights.loading import free_model, load_pipeline, place_model
from lora_studio.families.weights.quantised_weights import place_held
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.lora.file.keys import DENOISER, TEXT_ENCODERS, text_encoder_name, unet_name
from lora_studio.lora.network.ranks import convolution_layers

if TYPE_CHECKING:
    from lora_studio.config import TrainConfig

TEXT_LAYERS = (".q_proj", ".k_proj", ".v_proj", ".out_proj", ".fc1", ".fc2")
NO_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


@dataclass(kw_only=True, eq=False)
class StableDiffusionModel:
    """The BaseModel of Stable Diffusion 1.x and 2.x; both differ only in sizes and in what they predict.
    `home` is where it was placed. The text encoders are None while they are out of memory, and `reload`
    brings them back; a family with one has no second."""

    found: FoundBase
    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    process: DDPM
    tokenizer_2: Any = None
    text_encoder_2: Any = None
    home: tuple[str, torch.dtype] | None = None
    texts_held_as: str = ""
    reload: Callable[[], StableDiffusionModel] | None = None

    without: ClassVar[Mapping[str, Any]] = NO_CHECKER
    """Parts that diffusers' pipeline is told to leave out."""
    vae_overflows: ClassVar[bool] = False

    @cached_property
    def codec(self) -> Codec:
        return Codec(self.vae, overflows=self.vae_overflows)

    @property
    def prompts(self) -> ClipEncoder:
        tokenizers = (self.tokenizer, self.tokenizer_2)
        return ClipEncoder(self._encoders, [one for one in tokenizers if one is not None])

    @property
    def denoiser(self) -> Any:
        return self.unet

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.unet.dtype
        return dtype

    @property
    def native_size(self) -> tuple[int, int]:
        latent = self.unet.config.sample_size
        height, width = (latent, latent) if isinstance(latent, int) else latent
        return width * self.codec.step, height * self.codec.step

    @property
    def embeds_guidance(self) -> bool:
        return self.unet.config.time_cond_proj_dim is not None

    @property
    def takes_guidance(self) -> bool:
        return False

    @property
    def widths(self) -> tuple[int, int]:
        heads = self.unet.config.attention_head_dim
        heads = heads[0] if isinstance(heads, list | tuple) else heads
        return self.unet.config.block_out_channels[0], heads

    @property
    def size_step(self) -> int:
        return self.codec.step

    @property
    def blocks(self) -> Sequence[Any]:
        levels = (*self.unet.down_blocks, self.unet.mid_block, *self.unet.up_blocks)
        inner = (module for level in levels if level is not None for module in level.modules())
        return [module for module in inner if isinstance(module, BasicTransformerBlock)]

    @contextmanager
    def watched(self, keep: Callable[[torch.Tensor], None]) -> Iterator[None]:
        def hook(module: torch.nn.Module, given: object, output: tuple[torch.Tensor, ...]) -> None:
            keep(output[0].flatten(2))

        hooks = [block.register_forward_hook(hook) for block in self.unet.down_blocks]
        try:
            yield
        finally:
            for one in hooks:
                one.remove()

    def models(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in (*TEXT_ENCODERS, DENOISER)}
        return {name: model for name, model in found.items() if model is not None}

    def place(self, device: str, dtype: torch.dtype) -> None:
        self.process.to(device)
        for part, model in self.models().items():
            held = self.texts_held_as if part in TEXT_ENCODERS else ""
            place_held(model, device, dtype, held, read_ahead=part in TEXT_ENCODERS)
        # 32 bit: half precision overflows in some autoencoders, and the whole picture is lost.
        place_model(self.vae, device, torch.float32, read_ahead=False)
        self.home = (device, dtype)

    def free_text(self) -> None:
        for name in TEXT_ENCODERS:
            model = getattr(self, name)
            if model is not None:
                setattr(self, name, None)
                free_model(model)

    def targets(self, *, denoiser: bool = True, texts: bool = True, conv: bool = False) -> list[Target]:
        found = []
        for part, model in self.models().items():
            if part in TEXT_ENCODERS:
                layers = text_layers(model) if texts else ()
            else:
                layers = _denoiser_layers(model, conv=conv) if denoiser else ()
            found += [Target(part=part, module=path, name=self.layer_name(part, path)) for path in layers]
        return found

    def layer_name(self, part: str, module: str) -> str:
        return text_encoder_name(module) if part in TEXT_ENCODERS else unet_name(module)

    def denoise(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        text: TextOutput,
        sizes: torch.Tensor | None = None,
        *,
        guidance: float | None = None,
    ) -> torch.Tensor:
        text = text.to(noisy.device)
        added = self._added_conditions(noisy, text, sizes)
        answer: torch.Tensor = self.unet(
            noisy,
            times,
            encoder_hidden_states=text.states,
            timestep_cond=self._embedded(guidance, noisy),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return answer

    def pipeline(self) -> Any:
        import diffusers

        config = self.process.config
        class_name = config.get("_class_name", "DDIMScheduler")
        scheduler = getattr(diffusers, class_name).from_config(config)
        pipeline = self.pipeline_class()(
            tokenizer=self.tokenizer,
            text_encoder=self.text_encoder,
            vae=self.vae,
            unet=self.unet,
            scheduler=scheduler,
            **self._own_components(),
            **self.without,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @classmethod
    def pipeline_class(cls) -> Any:
        """Imported late and quietly: transformers warns about image classes that go unused."""
        with quiet_libraries():
            from diffusers import StableDiffusionPipeline

            return StableDiffusionPipeline

    def metadata(self) -> dict[str, str]:
        velocity_model = self.process.predicts_velocity
        is_v2 = self.found.family == SD2 or self.unet.config.cross_attention_dim == 1024
        size = "768-v" if velocity_model else "512"
        return {
            "ss_base_model_version": f"sd_v{2 if is_v2 else 1}{'_v' if velocity_model else ''}",
            "ss_v2": str(is_v2),
            "modelspec.architecture": f"stable-diffusion-v{f'2-{size}' if is_v2 else 1}/lora",
            "modelspec.implementation": "diffusers",
            "modelspec.prediction_type": "v" if velocity_model else "epsilon",
        }

    def ignored_settings(self, config: TrainConfig) -> list[str]:
        return []

    def _own_components(self) -> dict[str, Any]:
        """The parts of this family's pipeline beside the usual ones."""
        return {}

    def _added_conditions(
        self, noisy: torch.Tensor, text: TextOutput, sizes: torch.Tensor | None
    ) -> dict[str, torch.Tensor] | None:
        """The conditions of this family's denoiser beside time and text."""
        return None

    def _embedded(self, guidance: float | None, noisy: torch.Tensor) -> torch.Tensor | None:
        """The guidance as a distilled denoiser takes it (Meng et al. 2023)."""
        if guidance is None:
            return None
        scales = torch.tensor(guidance - 1).repeat(len(noisy))
        width = self.unet.config.time_cond_proj_dim
        found: torch.Tensor = self.pipeline_class().get_guidance_scale_embedding(self, scales, width)
        return found.to(noisy.device, noisy.dtype)

    def _encoders(self) -> list[tuple[str, Any, Any]]:
        if self.text_encoder is None and self.reload is not None:
            fresh = self.reload()
            for name in TEXT_ENCODERS:
                model = getattr(fresh, name)
                if model is not None and self.home is not None:
                    place_held(model, *self.home, self.texts_held_as)
                setattr(self, name, model)
        both = zip(TEXT_ENCODERS, (self.tokenizer, self.tokenizer_2), strict=True)
        found = [(name, tokenizer, getattr(self, name)) for name, tokenizer in both]
        return [one for one in found if one[2] is not None]


class StableDiffusion:
    """The Family of Stable Diffusion 1.x and 2.x."""

    model: type[StableDiffusionModel] = StableDiffusionModel

    def __init__(self, found: FoundBase) -> None:
        self.found = found

    def load(self, *, v_parameterization: bool | None = None) -> StableDiffusionModel:
        pipeline = load_pipeline(self.model.pipeline_class(), self.found, self.model.without)
        config = {**pipeline.scheduler.config, **self._marked()}
        if v_parameterization is not None:
            config["prediction_type"] = "v_prediction" if v_parameterization else "epsilon"
        loaded = self.model(
            found=self.found,
            tokenizer=pipeline.tokenizer,
            text_encoder=pipeline.text_encoder,
            vae=pipeline.vae,
            unet=pipeline.unet,
            process=DDPM.of(config),
            tokenizer_2=getattr(pipeline, "tokenizer_2", None),
            text_encoder_2=getattr(pipeline, "text_encoder_2", None),
            reload=self.load,
        )
        for model in (*loaded.models().values(), loaded.vae):
            model.requires_grad_(False).eval()
        state_signatures(loaded.unet)
        return loaded

    def _marked(self) -> dict[str, Any]:
        """Settings of the scheduler by a checkpoint's marks, which its configuration doesn't know."""
        facts = self.found.facts
        if not facts.marked:
            return {}
        marked: dict[str, Any] = {"prediction_type": facts.prediction_type}
        # Else the walkers of timesteps would never begin at pure noise (Lin et al. 2023).
        return (
            {**marked, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
            if facts.zero_snr
            else marked
        )


def text_layers(model: Any) -> Iterator[str]:
    """Module paths of the Linear layers inside the text encoder's blocks."""
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and path.endswith(TEXT_LAYERS):
            yield path


def _denoiser_layers(unet: Any, *, conv: bool) -> Iterator[str]:
    wanted = {*_transformer_layers(unet), *(convolution_layers(unet) if conv else ())}
    for path, _ in unet.named_modules():
        if path in wanted:
            yield path


def _transformer_layers(unet: Any) -> Iterator[str]:
    """Module paths of every Linear and 1x1 convolution inside the spatial transformers."""
    for outer, transformer in unet.named_modules():
        if isinstance(transformer, Transformer2DModel):
            for inner, layer in transformer.named_modules():
                is_pointwise = isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (1, 1)
                if isinstance(layer, torch.nn.Linear) or is_pointwise:
                    yield f"{outer}.{inner}"
