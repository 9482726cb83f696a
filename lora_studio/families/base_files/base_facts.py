"""Facts of a base model from its configuration or the table of its file, read without its weights."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lora_studio.catalog import SD2, SDXL
from lora_studio.lora.file.identify import Tensors

LEAST_NATIVE, MOST_NATIVE = 32, 2048
"""Pixels. What says to be smaller or larger is not believed."""
MOST_LEVELS, MOST_CHANNELS = 8, 4096
V_PREDICTION = "v_prediction"
V_MARK, ZERO_SNR_MARK = "v_pred", "ztsnr"
"""Empty tensors by which SDXL checkpoints say that they predict the velocity, and that their noise schedule
ends in nothing but noise (NoobAI-XL began it; A1111, Forge and ComfyUI read the same)."""
EDM_MARKS = ("edm_mean", "edm_std", "edm_vpred.sigma_max")
EDM_SCHEDULERS = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
SD2_NORM = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
SD2_SPREAD = 0.09
"""ComfyUI's mark of SD 2.x checkpoints that predict the velocity: the spread of this layer's values."""
FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
LATENT_CHANNELS = 4
INDEX = "model_index.json"
"""The list of a repository's parts, by diffusers' pipelines."""
DENOISERS = ("unet", "transformer")
"""Names of the denoiser in diffusers' pipelines."""
OTHER_CONFIGS = ("vae/config.json", "scheduler/scheduler_config.json")

ReadJson = Callable[[str], Mapping[str, Any]]
"""A reader from a file's path in a diffusers repository to the object in it; empty without a file."""


@dataclass(frozen=True, kw_only=True)
class BaseFacts:
    """`native_size` in pixels and 0 when unknown; `step` the pixels of one latent pixel, or
    of a token of several; `prediction_type`
    empty when only loading tells; `zero_snr`: its noise schedule ends in nothing but noise; `edm`: it is of a
    kind that nothing here can sample; `marked`: prediction and schedule come from marks in a checkpoint,
    which its configuration doesn't know of; `channels` that the denoiser takes, `heads` of its attention, 0
    when unknown; `distilled` for few steps, as its configuration says; None where that tells neither."""

    native_size: int = 0
    step: int = 8
    prediction_type: str = ""
    zero_snr: bool = False
    edm: bool = False
    marked: bool = False
    channels: int = LATENT_CHANNELS
    heads: int = 0
    distilled: bool | None = False

    @property
    def predicts_velocity(self) -> bool:
        return self.prediction_type == V_PREDICTION

    def remark(self, name: str, chosen: bool | None) -> str:
        """A sentence on what its marks and a person (`chosen`) say; empty when that is nothing unusual."""
        if not (self.marked and self.predicts_velocity):
            return ""
        noise = " and a noise schedule that ends in nothing but noise" if self.zero_snr else ""
        statement = f"The checkpoint {name} says that it is made for v-prediction{noise}"
        if chosen is False:
            return f"{statement}, but v_parameterization is off: it is trained as if it predicted the noise."
        return f"{statement}: it is trained and its previews are drawn that way."


NOTHING_SAID = BaseFacts()


def facts_of_configs(read: ReadJson) -> BaseFacts:
    """The facts of a base in diffusers' layout."""
    unet, transformer = (read(f"{name}/config.json") for name in DENOISERS)
    vae, scheduler = (read(name) for name in OTHER_CONFIGS)
    levels = vae.get("block_out_channels", vae.get("dim_mult"))
    step = 2 ** (len(levels) - 1) if isinstance(levels, list) and 1 <= len(levels) <= MOST_LEVELS else 8
    step *= _patch(transformer, vae)
    return BaseFacts(
        native_size=_native(unet.get("sample_size"), step),
        step=step,
        prediction_type=str(scheduler.get("prediction_type") or "")[:40],
        zero_snr=scheduler.get("rescale_betas_zero_snr") is True,
        edm=scheduler.get("_class_name") in EDM_SCHEDULERS,
        heads=_channels(transformer.get("num_attention_heads")),
        distilled=read(INDEX).get("is_distilled") is True or _distilled(transformer, scheduler),
    )


def facts_of_file(file: Path, family: str, tensors: Tensors) -> BaseFacts:
    """The facts of a checkpoint. Its marks go before the configuration in a folder of its name beside it,
    which goes before what its weights suggest."""
    _, first = tensors.get(FIRST_LAYER, ("", ()))
    channels = first[1] if len(first) == 4 else LATENT_CHANNELS
    return replace(_facts_of_file(file, family, tensors), channels=channels)


def _facts_of_file(file: Path, family: str, tensors: Tensors) -> BaseFacts:
    beside = facts_of_configs(lambda name: read_config(file.with_suffix("") / name))
    if family == SDXL and (V_MARK in tensors or any(mark in tensors for mark in EDM_MARKS)):
        return BaseFacts(
            native_size=beside.native_size,
            step=beside.step,
            prediction_type=V_PREDICTION,
            zero_snr=ZERO_SNR_MARK in tensors or beside.zero_snr,
            edm=any(mark in tensors for mark in EDM_MARKS),
            marked=True,
        )
    spread = _spread(file) if family == SD2 and SD2_NORM in tensors and not beside.prediction_type else None
    if spread is None:
        return beside
    prediction, native = (V_PREDICTION, 768) if spread > SD2_SPREAD else ("epsilon", 512)
    return replace(beside, native_size=beside.native_size or native, prediction_type=prediction, marked=True)


def read_config(path: Path) -> Mapping[str, Any]:
    """A JSON table; empty for what is missing, damaged or none. Whoever needs it says so."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _distilled(transformer: Mapping[str, Any], scheduler: Mapping[str, Any]) -> bool | None:
    """Whether a denoiser is distilled, by what its makers changed beside it: Z-Image has a shift of 6 and its
    Turbo of 3; FLUX.1 dev takes a guidance and moves its steps by the picture's size, schnell does neither.
    None for what is as neither of the two."""
    kind, is_dynamic = transformer.get("_class_name"), scheduler.get("use_dynamic_shifting") is True
    if kind == "ZImageTransformer2DModel" and not is_dynamic:
        return {TURBO_SHIFT: True, BASE_SHIFT: False}.get(_number(scheduler.get("shift")))
    if kind == "FluxTransformer2DModel" and transformer.get("guidance_embeds") is not True:
        return True if scheduler and not is_dynamic else None
    return False


BASE_SHIFT, TURBO_SHIFT = 6.0, 3.0


def _number(value: Any) -> float:
    return float(value) if type(value) in (int, float) and abs(value) < MOST_CHANNELS else 0.0


def _patch(transformer: Mapping[str, Any], vae: Mapping[str, Any]) -> int:
    """Latent pixels of a token's side, as the denoiser or its channels say; 1 for one without tokens."""
    sizes = transformer.get("all_patch_size", transformer.get("patch_size"))
    patch = sizes[-1] if isinstance(sizes, list) and sizes else 1
    channels, taken = _channels(vae.get("latent_channels")), _channels(transformer.get("in_channels"))
    if channels and taken and not isinstance(sizes, list):
        patch = math.isqrt(taken // channels)
    return patch if type(patch) is int and 1 <= patch <= MOST_LEVELS else 1


def _channels(count: Any) -> int:
    return count if type(count) is int and 0 < count <= MOST_CHANNELS else 0


def _native(sample_size: Any, step: int) -> int:
    """Pixels of a picture whose latents have this size, of which the shorter side counts."""
    sides = sample_size if isinstance(sample_size, list) else [sample_size]
    if not sides or not all(isinstance(side, int) and not isinstance(side, bool) for side in sides):
        return 0
    native = min(sides) * step
    return int(native) // 8 * 8 if LEAST_NATIVE <= native <= MOST_NATIVE else 0


def _spread(file: Path) -> float | None:
    """The standard deviation of SD2_NORM's values; None where they can't be read without torch."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            return float(opened.get_tensor(SD2_NORM).astype("float64").std())
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError):
        return None
