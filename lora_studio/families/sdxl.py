"""Stable Diffusion XL (Podell et al. 2023): two text encoders, and a denoiser that is told the sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DConditionModel

from lora_studio.families.base import TEXT_ENCODERS, Parts, TextOutput
from lora_studio.families.clip_caption import Tokens, tokenize
from lora_studio.families.sd import StableDiffusion
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.lora.file.keys import TEXT_ENCODER, UNET, text_encoder_name, unet_name
from lora_studio.lora.file.sgm_keys import to_stability

if TYPE_CHECKING:
    from lora_studio.config import TrainConfig

NO_WATERMARK = {"add_watermarker": False}
PREFIXES = {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}


class StableDiffusionXL(StableDiffusion):
    """The Family of SDXL. Text is what both encoders have one layer before their last, side by side; the
    pooled text is the second one's."""

    without = NO_WATERMARK
    vae_overflows = True

    def layer_name(self, part: str, module: str) -> str:
        """The denoiser's layers have Stability's names in the file."""
        if part in TEXT_ENCODERS:
            return text_encoder_name(module).replace(TEXT_ENCODER, PREFIXES[part], 1)
        return f"{UNET}_{to_stability(unet_name(module).removeprefix(f'{UNET}_'))}"

    def encode_text(
        self,
        parts: Parts,
        captions: Sequence[str],
        clip_skip: int | None = None,
        *,
        max_token_length: int | None = None,
        weighted: bool = False,
    ) -> TextOutput:
        """`clip_skip` has no effect, as in Kohya's trainer. Of a long caption, the pooled text is that of the
        first window."""
        self._bring_text_back(parts)
        found = []
        for tokenizer, encoder in (
            (parts.tokenizer, parts.text_encoder),
            (parts.tokenizer_2, parts.text_encoder_2),
        ):
            tokens = tokenize(tokenizer, captions, max_token_length, weighted=weighted)
            output = encoder(tokens.windows.to(encoder.device), output_hidden_states=True)
            found.append(tokens.join(output.hidden_states[-2]))
        pooled = _first_windows(output.text_embeds, tokens)
        return TextOutput(states=torch.cat(found, dim=-1), pooled=pooled)

    def predict(
        self,
        parts: Parts,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        text: TextOutput,
        sizes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        unet: UNet2DConditionModel = parts.unet
        text = text.to(noisy.device)
        if sizes is None:
            height, width = (side * parts.codec.step for side in noisy.shape[-2:])
            sizes = torch.tensor([[height, width, 0, 0, height, width]] * len(noisy))
        told = {"text_embeds": text.pooled, "time_ids": sizes.to(noisy.device, text.states.dtype)}
        return unet(
            noisy, timesteps, encoder_hidden_states=text.states, added_cond_kwargs=told, return_dict=False
        )[0]

    def _own_components(self, parts: Parts) -> dict[str, Any]:
        return {"text_encoder_2": parts.text_encoder_2, "tokenizer_2": parts.tokenizer_2}

    def pipeline_class(self) -> Any:
        with quiet_libraries():
            from diffusers import StableDiffusionXLPipeline

            return StableDiffusionXLPipeline

    def metadata(self, parts: Parts) -> dict[str, str]:
        return {
            "ss_base_model_version": "sdxl_base_v1-0",
            "ss_v2": "False",
            "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
            "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
            "modelspec.prediction_type": "v" if parts.prediction_type == "v_prediction" else "epsilon",
        }

    def ignored_settings(self, config: TrainConfig) -> list[str]:
        if (config.model.clip_skip or 1) > 1:
            return ["clip_skip is ignored: this base model always takes the layer before the last."]
        return []


def _first_windows(pooled: torch.Tensor, tokens: Tokens) -> torch.Tensor:
    """[b, e] of [b m, e]."""
    return pooled.unflatten(0, tokens.ids.shape[:2])[:, 0]
