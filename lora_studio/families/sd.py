"""Stable Diffusion 1.x and 2.x, of any size: epsilon or v-prediction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, Transformer2DModel, UNet2DConditionModel
from safetensors import SafetensorError

from lora_studio.catalog import SD2
from lora_studio.errors import BrokenFile, ModelFileError, OutOfMemory
from lora_studio.families.base import Parts, Target
from lora_studio.families.detect import FoundBase
from lora_studio.families.noise import min_snr_weights, noised, signal_to_noise, velocity
from lora_studio.families.quiet import quiet_libraries
from lora_studio.families.schedulers import build_scheduler
from lora_studio.lora.keys import text_encoder_name, unet_name

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

log = logging.getLogger(__name__)

TEXT_LAYERS = (".q_proj", ".k_proj", ".v_proj", ".out_proj", ".fc1", ".fc2")
NO_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


class StableDiffusion:
    """The Family of Stable Diffusion 1.x and 2.x; both differ only in sizes and in what they predict."""

    def __init__(self, found: FoundBase) -> None:
        self.found = found

    def load(self, *, v_parameterization: bool | None = None) -> Parts:
        pipeline = load_pipeline(self.found)
        for model in (pipeline.text_encoder, pipeline.vae, pipeline.unet):
            model.requires_grad_(False).eval()
        config = dict(pipeline.scheduler.config)
        if v_parameterization is not None:
            config["prediction_type"] = "v_prediction" if v_parameterization else "epsilon"
        schedule = {key: config[key] for key in SCHEDULE if key in config}
        return Parts(
            tokenizer=pipeline.tokenizer,
            text_encoder=pipeline.text_encoder,
            vae=pipeline.vae,
            unet=pipeline.unet,
            scheduler_config=config,
            prediction_type=config.get("prediction_type", "epsilon"),
            alphas=DDPMScheduler.from_config(schedule).alphas_cumprod,
            size_step=2 ** (len(pipeline.vae.config.block_out_channels) - 1),
        )

    def place(self, parts: Parts, device: str, dtype: torch.dtype) -> None:
        parts.alphas = parts.alphas.to(device)
        parts.vae.to(device)
        for model in (parts.text_encoder, parts.unet):
            model.to(device)
            for module in model.modules():
                # What autocast would cast at each use. Norms, embeddings and trained weights stay in 32 bit.
                if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and not module.weight.requires_grad:
                    module.to(dtype)

    def targets(self, parts: Parts, *, unet: bool = True, text_encoder: bool = True) -> list[Target]:
        found = []
        if text_encoder:
            for path, module in parts.text_encoder.named_modules():
                if isinstance(module, torch.nn.Linear) and path.endswith(TEXT_LAYERS):
                    found.append(Target(part="text_encoder", module=path, name=text_encoder_name(path)))
        if unet:
            paths = _transformer_layers(parts.unet)
            found += [Target(part="unet", module=path, name=unet_name(path)) for path in paths]
        return found

    def encode_text(self, parts: Parts, captions: Sequence[str], clip_skip: int | None) -> torch.Tensor:
        tokens = parts.tokenizer(
            list(captions),
            padding="max_length",
            truncation=True,
            max_length=parts.tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids.to(parts.text_encoder.device)
        skip = clip_skip or 1
        if skip == 1:
            return parts.text_encoder(tokens).last_hidden_state
        model = getattr(parts.text_encoder, "text_model", parts.text_encoder)
        states = parts.text_encoder(tokens, output_hidden_states=True).hidden_states
        return model.final_layer_norm(states[-min(skip, len(states))])

    def encode_pictures(self, parts: Parts, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        vae: AutoencoderKL = parts.vae
        posterior = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
        scale = vae.config.scaling_factor
        return posterior.mean * scale, posterior.std * scale

    def decode_latents(self, parts: Parts, latents: torch.Tensor) -> torch.Tensor:
        vae: AutoencoderKL = parts.vae
        pixels = vae.decode(latents.to(vae.device, vae.dtype) / vae.config.scaling_factor).sample
        return (pixels.float() / 2 + 0.5).clamp(0, 1)

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

    def loss_weights(
        self, parts: Parts, timesteps: torch.Tensor, min_snr_gamma: float | None
    ) -> torch.Tensor:
        snr = signal_to_noise(parts.alphas, timesteps)
        if min_snr_gamma is None:
            return torch.ones_like(snr)
        predicts_velocity = parts.prediction_type == "v_prediction"
        return min_snr_weights(snr, min_snr_gamma, predicts_velocity=predicts_velocity)

    def predict(
        self, parts: Parts, noisy: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor
    ) -> torch.Tensor:
        unet: UNet2DConditionModel = parts.unet
        return unet(noisy, timesteps, encoder_hidden_states=text, return_dict=False)[0]

    def pipeline(self, parts: Parts, sampler: str = "") -> StableDiffusionPipeline:
        own = parts.scheduler_config.get("_class_name", "DDIMScheduler")
        if sampler:
            scheduler = build_scheduler(sampler, parts.scheduler_config)
        else:
            import diffusers

            scheduler = getattr(diffusers, own).from_config(parts.scheduler_config)
        pipeline = _pipeline_class()(
            vae=parts.vae,
            text_encoder=parts.text_encoder,
            tokenizer=parts.tokenizer,
            unet=parts.unet,
            scheduler=scheduler,
            **NO_CHECKER,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def metadata(self, parts: Parts) -> dict[str, str]:
        velocity_model = parts.prediction_type == "v_prediction"
        is_v2 = self.found.family == SD2 or parts.unet.config.cross_attention_dim == 1024
        size = "768-v" if velocity_model else "512"
        return {
            "ss_base_model_version": f"sd_v2_{size.replace('-', '_')}" if is_v2 else "sd_v1",
            "ss_v2": str(is_v2),
            "modelspec.architecture": f"stable-diffusion-v{f'2-{size}' if is_v2 else 1}/lora",
            "modelspec.implementation": "diffusers",
            "modelspec.prediction_type": "v" if velocity_model else "epsilon",
        }


SCHEDULE = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    "rescale_betas_zero_snr",
)


def load_pipeline(found: FoundBase, dtype: torch.dtype = torch.float32) -> StableDiffusionPipeline:
    """The whole base model as diffusers gives it, without the safety checker's weights. Raises
    ModelFileError (missing, or not to be had offline), BrokenFile, OutOfMemory."""
    try:
        with quiet_libraries():
            if found.layout == "file":
                return _load_single_file(found, dtype)
            if found.layout == "hub":
                return _load_from_hub(found, dtype)
            return _pipeline_class().from_pretrained(
                found.path_or_id, dtype=dtype, local_files_only=True, **NO_CHECKER
            )
    except MemoryError as error:
        raise OutOfMemory(
            f"There is not enough memory to load the base model {found.name}.", "Close other programs."
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, SafetensorError) as error:
        log.debug("loading %s", found.path_or_id, exc_info=True)
        raise _load_error(found, error) from error


def _pipeline_class() -> type[StableDiffusionPipeline]:
    """Imported late and quietly: transformers warns on the console about image classes that are not used
    here."""
    with quiet_libraries():
        from diffusers import StableDiffusionPipeline

        return StableDiffusionPipeline


def _transformer_layers(unet: Any) -> list[str]:
    """Module paths of every Linear and 1x1 convolution inside the spatial transformers."""
    paths = []
    for outer, transformer in unet.named_modules():
        if isinstance(transformer, Transformer2DModel):
            for inner, layer in transformer.named_modules():
                is_pointwise = isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (1, 1)
                if isinstance(layer, torch.nn.Linear) or is_pointwise:
                    paths.append(f"{outer}.{inner}")
    return paths


def _load_single_file(found: FoundBase, dtype: torch.dtype) -> StableDiffusionPipeline:
    """A checkpoint holds the weights only. Tokenizer and configuration come from a folder of the same name
    beside it, else from the hub (or what was fetched from it before)."""
    beside = Path(found.path_or_id).with_suffix("")
    config = {"config": str(beside)} if (beside / "model_index.json").is_file() else {}
    return _pipeline_class().from_single_file(
        found.path_or_id, dtype=dtype, local_files_only=bool(config), **config, **NO_CHECKER
    )


def _load_from_hub(found: FoundBase, dtype: torch.dtype) -> StableDiffusionPipeline:
    """The half-precision files where the repository has them: half the download, and LoRAs don't see the
    difference."""
    try:
        return _pipeline_class().from_pretrained(found.path_or_id, dtype=dtype, variant="fp16", **NO_CHECKER)
    except ValueError:
        return _pipeline_class().from_pretrained(found.path_or_id, dtype=dtype, **NO_CHECKER)


def _load_error(found: FoundBase, error: Exception) -> ModelFileError:
    if found.layout == "hub":
        return ModelFileError(
            f"The base model {found.path_or_id} is not on this machine and could not be fetched.",
            "Check the name and the internet connection, or put the model into models/base.",
            path=found.path_or_id,
        )
    if found.layout == "file" and not Path(found.path_or_id).with_suffix("").is_dir():
        return ModelFileError(
            f"The checkpoint {Path(found.path_or_id).name} lacks the tokenizer and the configuration, and "
            "they could not be fetched.",
            "Connect to the internet once, or put them beside it, in a folder of the same name without "
            ".safetensors: any diffusers copy of the same model will do, even without its weights.",
            path=found.path_or_id,
        )
    return BrokenFile(
        f"The base model {found.name} can't be loaded: {str(error).strip().splitlines()[0][:200]}",
        "Get its files again.",
        path=found.path_or_id,
    )
