"""sd-scripts' training of LoRAs by family, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_studio.catalog.family_names import ANIMA, CHROMA, FLUX, SD1, SD2, SDXL


@dataclass(frozen=True, kw_only=True)
class TrainingScript:
    """A script at the top of sd-scripts. `network_module` trains plain LoRA; where it is one of the script's
    own, other kinds aren't trained. `always` are settings whose defaults differ from script to script, so
    that they are always written. `options` say which of its bases it is.

    `files` are options that name files, with the place of each in a base in diffusers' layout; empty for one
    that only its makers' own file will do for.
    """

    file: str
    network_module: str = "networks.lora"
    always: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


TRAINING_SCRIPTS: Mapping[str, TrainingScript] = {
    SD1: TrainingScript(file="train_network.py"),
    SD2: TrainingScript(file="train_network.py"),
    SDXL: TrainingScript(file="sdxl_train_network.py"),
    ANIMA: TrainingScript(
        file="anima_train_network.py",
        network_module="networks.lora_anima",
        always=(
            *("timestep_sampling", "sigmoid_scale", "discrete_flow_shift"),
            *("weighting_scheme", "logit_mean", "logit_std", "mode_scale"),
        ),
        files={
            "pretrained_model_name_or_path": "",
            "qwen3": "text_encoder/model.safetensors",
            "vae": "vae/diffusion_pytorch_model.safetensors",
        },
    ),
    FLUX: TrainingScript(
        file="flux_train_network.py",
        network_module="networks.lora_flux",
        always=("model_prediction_type",),
        files={
            "pretrained_model_name_or_path": "transformer/diffusion_pytorch_model-00001-of-00003.safetensors",
            "clip_l": "text_encoder/model.safetensors",
            "t5xxl": "text_encoder_2/model.safetensors",
            "ae": "ae.safetensors",
        },
    ),
    CHROMA: TrainingScript(
        file="flux_train_network.py",
        network_module="networks.lora_flux",
        always=("model_prediction_type",),
        options={"model_type": "chroma", "apply_t5_attn_mask": True, "guidance_scale": 0.0},
        files={
            "pretrained_model_name_or_path": "",
            "t5xxl": "text_encoder/model.safetensors",
            "ae": "ae.safetensors",
        },
    ),
}
