"""Stable Diffusion 1.x and 2.x, of any size: epsilon or v-prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DDPMScheduler, Transformer2DModel, UNet2DConditionModel

from lora_studio.catalog import SD2
from lora_studio.families.base import TEXT_ENCODERS, Parts, Target, TextOutput
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.clip_caption import tokenize
from lora_studio.families.ddpm import noised, velocity
from lora_studio.families.schedulers import build_scheduler
from lora_studio.families.weights.loading import free_model, load_pipeline, place_model
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.lora.file.keys import text_encoder_name, unet_name

if TYPE_CHECKING:
    from lora_studio.config import TrainConfig

TEXT_LAYERS = (".q_proj", ".k_proj", ".v_proj", ".out_proj", ".fc1", ".fc2")
NO_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
SCHEDULE = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    "rescale_betas_zero_snr",
)


class StableDiffusion:
    """The Family of Stable Diffusion 1.x and 2.x; both differ only in sizes and in what they predict."""

    without: Mapping[str, Any] = NO_CHECKER
    """What diffusers' pipeline is told to leave out."""
    vae_overflows = False

    def __init__(self, found: FoundBase) -> None:
        self.found = found

    def load(self, *, v_parameterization: bool | None = None) -> Parts:
        pipeline = load_pipeline(self.pipeline_class(), self.found, self.without)
        config = {**pipeline.scheduler.config, **self._marked()}
        if v_parameterization is not None:
            config["prediction_type"] = "v_prediction" if v_parameterization else "epsilon"
        schedule = {key: config[key] for key in SCHEDULE if key in config}
        parts = Parts(
            tokenizer=pipeline.tokenizer,
            text_encoder=pipeline.text_encoder,
            vae=pipeline.vae,
            unet=pipeline.unet,
            scheduler_config=config,
            prediction_type=config.get("prediction_type", "epsilon"),
            alphas=DDPMScheduler.from_config(schedule).alphas_cumprod,
            vae_overflows=self.vae_overflows,
            tokenizer_2=getattr(pipeline, "tokenizer_2", None),
            text_encoder_2=getattr(pipeline, "text_encoder_2", None),
        )
        for model in (*parts.models().values(), parts.vae):
            model.requires_grad_(False).eval()
        return parts

    def _marked(self) -> dict[str, Any]:
        """What a checkpoint's marks say of its scheduler, which its configuration doesn't know."""
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

    def place(self, parts: Parts, device: str, dtype: torch.dtype) -> None:
        parts.alphas = parts.alphas.to(device)
        for part, model in parts.models().items():
            place_model(model, device, dtype, read_ahead=part in TEXT_ENCODERS)
        # 32 bit: half precision overflows in some autoencoders, and the whole picture is lost.
        place_model(parts.vae, device, torch.float32, read_ahead=False)
        parts.home = (device, dtype)

    def targets(self, parts: Parts, *, unet: bool = True, text_encoder: bool = True) -> list[Target]:
        found = []
        for part, model in parts.models().items():
            if part in TEXT_ENCODERS:
                layers = _text_layers(model) if text_encoder else ()
            else:
                layers = _transformer_layers(model) if unet else ()
            found += [Target(part=part, module=path, name=self.layer_name(part, path)) for path in layers]
        return found

    def layer_name(self, part: str, module: str) -> str:
        return text_encoder_name(module) if part in TEXT_ENCODERS else unet_name(module)

    def encode_text(
        self,
        parts: Parts,
        captions: Sequence[str],
        clip_skip: int | None = None,
        *,
        max_token_length: int | None = None,
        weighted: bool = False,
    ) -> TextOutput:
        self._bring_text_back(parts)
        tokens = tokenize(parts.tokenizer, captions, max_token_length, weighted=weighted)
        encoder = parts.text_encoder
        windows = tokens.windows.to(encoder.device)
        skip = clip_skip or 1
        if skip == 1:
            return TextOutput(states=tokens.join(encoder(windows).last_hidden_state))
        states = encoder(windows, output_hidden_states=True).hidden_states
        norm = getattr(encoder, "text_model", encoder).final_layer_norm
        return TextOutput(states=tokens.join(norm(states[-min(skip, len(states))])))

    def free_text(self, parts: Parts) -> None:
        for name in TEXT_ENCODERS:
            model = getattr(parts, name)
            if model is not None:
                setattr(parts, name, None)
                free_model(model)

    def _bring_text_back(self, parts: Parts) -> None:
        if parts.text_encoder is not None:
            return
        fresh = self.load()
        for name in TEXT_ENCODERS:
            model = getattr(fresh, name)
            if model is not None and parts.home is not None:
                place_model(model, *parts.home)
            setattr(parts, name, model)

    def noisy_input(
        self, parts: Parts, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        return noised(parts.alphas, latents, noise, timesteps)

    def target(
        self, parts: Parts, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        if parts.prediction_type == "v_prediction":
            return velocity(parts.alphas, latents, noise, timesteps)
        return noise

    def predict(
        self,
        parts: Parts,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        text: TextOutput,
        sizes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        unet: UNet2DConditionModel = parts.unet
        states = text.states.to(noisy.device)
        return unet(noisy, timesteps, encoder_hidden_states=states, return_dict=False)[0]

    def pipeline(self, parts: Parts, sampler: str = "") -> Any:
        own = parts.scheduler_config.get("_class_name", "DDIMScheduler")
        if sampler:
            scheduler = build_scheduler(sampler, parts.scheduler_config)
        else:
            import diffusers

            scheduler = getattr(diffusers, own).from_config(parts.scheduler_config)
        pipeline = self.pipeline_class()(
            tokenizer=parts.tokenizer,
            text_encoder=parts.text_encoder,
            vae=parts.vae,
            unet=parts.unet,
            scheduler=scheduler,
            **self._own_components(parts),
            **self.without,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _own_components(self, parts: Parts) -> dict[str, Any]:
        """What this family's pipeline has beside the usual parts."""
        return {}

    def pipeline_class(self) -> Any:
        """Imported late and quietly: transformers warns on the console about image classes that are not used
        here."""
        with quiet_libraries():
            from diffusers import StableDiffusionPipeline

            return StableDiffusionPipeline

    def metadata(self, parts: Parts) -> dict[str, str]:
        velocity_model = parts.prediction_type == "v_prediction"
        is_v2 = self.found.family == SD2 or parts.unet.config.cross_attention_dim == 1024
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


def _text_layers(model: Any) -> Iterator[str]:
    """Module paths of the Linear layers inside the text encoder's blocks."""
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and path.endswith(TEXT_LAYERS):
            yield path


def _transformer_layers(unet: Any) -> Iterator[str]:
    """Module paths of every Linear and 1x1 convolution inside the spatial transformers."""
    for outer, transformer in unet.named_modules():
        if isinstance(transformer, Transformer2DModel):
            for inner, layer in transformer.named_modules():
                is_pointwise = isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (1, 1)
                if isinstance(layer, torch.nn.Linear) or is_pointwise:
                    yield f"{outer}.{inner}"
