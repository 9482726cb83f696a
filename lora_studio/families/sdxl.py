"""Stable Diffusion XL (Podell et al. 2023): two text encoders, and a denoiser that is told the sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lora_studio.families.base import TextOutput
from lora_studio.families.sd import StableDiffusion, StableDiffusionModel
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.lora.file.keys import TEXT_ENCODER, TEXT_ENCODERS, UNET, text_encoder_name, unet_name
from lora_studio.lora.file.sgm_keys import to_stability

if TYPE_CHECKING:
    from lora_studio.config import TrainConfig

NO_WATERMARK = {"add_watermarker": False}
PREFIXES = {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}


class StableDiffusionXLModel(StableDiffusionModel):
    """The BaseModel of SDXL: both encoders' second last layers side by side, the second's pooled text."""

    without = NO_WATERMARK
    vae_overflows = True

    def layer_name(self, part: str, module: str) -> str:
        """The denoiser's layers have Stability's names in the file."""
        if part in TEXT_ENCODERS:
            return text_encoder_name(module).replace(TEXT_ENCODER, PREFIXES[part], 1)
        return f"{UNET}_{to_stability(unet_name(module).removeprefix(f'{UNET}_'))}"

    @classmethod
    def pipeline_class(cls) -> Any:
        with quiet_libraries():
            from diffusers import StableDiffusionXLPipeline

            return StableDiffusionXLPipeline

    def metadata(self) -> dict[str, str]:
        return {
            "ss_base_model_version": "sdxl_base_v1-0",
            "ss_v2": "False",
            "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
            "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
            "modelspec.prediction_type": "v" if self.process.predicts_velocity else "epsilon",
        }

    def ignored_settings(self, config: TrainConfig) -> list[str]:
        if (config.model.clip_skip or 1) > 1:
            return ["clip_skip is ignored: this base model always takes the layer before the last."]
        return []

    def _own_components(self) -> dict[str, Any]:
        return {"text_encoder_2": self.text_encoder_2, "tokenizer_2": self.tokenizer_2}

    def _added_conditions(
        self, noisy: torch.Tensor, text: TextOutput, sizes: torch.Tensor | None
    ) -> dict[str, torch.Tensor] | None:
        assert text.pooled is not None
        if sizes is None:
            height, width = (side * self.codec.step for side in noisy.shape[-2:])
            sizes = torch.tensor([[height, width, 0, 0, height, width]] * len(noisy))
        return {"text_embeds": text.pooled, "time_ids": sizes.to(noisy.device, text.states.dtype)}


class StableDiffusionXL(StableDiffusion):
    """The Family of SDXL."""

    model = StableDiffusionXLModel
