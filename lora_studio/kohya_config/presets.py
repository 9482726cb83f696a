"""JSON presets of the kohya_ss GUI, as the options that it would hand to sd-scripts.

The facts are those of its LoRA tab in 2023 to 2026: names of its own for some options, numbers as text, and 0
or empty text for options that are off.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from lora_studio.catalog import SDXL
from lora_studio.errors import ConfigError
from lora_studio.kohya_config.option_values import bounded, number_in
from lora_studio.kohya_config.options import LYCORIS, NOT_READ, OPTIONS

MARK = "LoRA_type"
"""The key that only presets of the LoRA tab have."""
OF_OTHER_TABS = frozenset({"max_resolution", "optimizer", "learning_rate_te", "num_vectors_per_token"})
MODULES: Mapping[str, str] = {
    **{"Standard": "networks.lora", "Kohya LoCon": "networks.lora", "LoRA-FA": "networks.lora_fa"},
    **{"Kohya DyLoRA": "networks.dylora", "Kohya LoHa": "networks.loha", "Kohya LoKr": "networks.lokr"},
    **{"Flux1": "networks.lora_flux", "Flux1 OFT": "networks.oft_flux", "Anima": "networks.lora_anima"},
    **{"Lumina": "networks.lora_lumina", "HunyuanImage-2.1": "networks.lora_hunyuan_image"},
}
ALGOS: Mapping[str, str] = {
    **{"LoCon": "locon", "LyCORIS/LoCon": "locon", "LyCORIS/LoHa": "loha", "LyCORIS/LoKr": "lokr"},
    **{"LyCORIS/iA3": "ia3", "LyCORIS/DyLoRA": "dylora", "LyCORIS/GLoRA": "glora", "LyCORIS/BOFT": "boft"},
    **{"LyCORIS/Diag-OFT": "diag-oft", "LyCORIS/Native Fine-Tuning": "full"},
}
OTHER_MODELS: Mapping[str, str] = {
    **{"sd3_checkbox": "SD3", "hunyuan_image_checkbox": "HunyuanImage 2.1"},
    **{"anima_checkbox": "Anima", "lumina_checkbox": "Lumina 2"},
}
RENAMED: Mapping[str, str] = {
    **{"max_resolution": "resolution", "optimizer": "optimizer_type"},
    **{"lora_network_weights": "network_weights"},
}
SAME = frozenset(OPTIONS) - {
    *("network_module", "network_args", "text_encoder_lr", "unet_lr", "learning_rate", "xformers", "sdpa"),
    *("noise_offset", "adaptive_noise_scale", "noise_offset_random_strength", "sample_prompts"),
    *("multires_noise_iterations", "multires_noise_discount", "lr_warmup_steps", "optimizer_args"),
    *("lr_scheduler_args", "lr_scheduler_num_cycles", "network_train_unet_only", "max_train_steps"),
    *("network_train_text_encoder_only", "no_half_vae", "cache_text_encoder_outputs", "train_inpainting"),
    *("cache_text_encoder_outputs_to_disk", "fp8_base_unet", "disable_mmap_load_safetensors"),
    *("fused_backward_pass", "cpu_offload_checkpointing", "torch_compile"),
}
"""Options that a preset has by sd-scripts' names and forms."""
OF_ALL_LYCORIS = ("conv_dim", "conv_alpha", "use_tucker", "rank_dropout", "module_dropout", "train_norm")
OF_LYCORIS: Mapping[str, tuple[str, ...]] = {
    "locon": (*OF_ALL_LYCORIS, "dora_wd", "use_scalar", "rank_dropout_scale", "bypass_mode"),
    "loha": (*OF_ALL_LYCORIS, "dora_wd", "use_scalar", "rank_dropout_scale", "bypass_mode"),
    "lokr": (
        *(*OF_ALL_LYCORIS, "dora_wd", "use_scalar", "rank_dropout_scale", "bypass_mode"),
        *("factor", "use_cp", "decompose_both"),
    ),
    "diag-oft": (*OF_ALL_LYCORIS, "rank_dropout_scale", "constrain", "rescaled"),
    "ia3": ("conv_dim", "conv_alpha", "train_on_input"),
}
OF_BLOCKS = (
    *("down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold", "block_dims"),
    *("block_alphas", "conv_block_dims", "conv_block_alphas", "rank_dropout", "module_dropout"),
)
FLUX_MARK = "flux1_checkbox"
OF_FLUX = (
    *("train_blocks", "split_qkv", "train_t5xxl", "img_attn_dim", "txt_attn_dim", "img_mlp_dim"),
    *("txt_mlp_dim", "img_mod_dim", "txt_mod_dim", "single_dim", "single_mod_dim", "in_dims"),
    *("train_double_block_indices", "train_single_block_indices"),
)
FLUX_FILES: Mapping[str, str] = {"flux1_clip_l": "clip_l", "flux1_t5xxl": "t5xxl"}
OF_LORAPLUS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
ITS_NAMES = {"constrain": "constraint"}
Preset = Mapping[str, Any]


def is_preset(data: Any) -> bool:
    """Whether JSON is one of the LoRA tab's presets. Raises ConfigError for presets of its other tabs."""
    if not isinstance(data, dict):
        return False
    if MARK not in data and OF_OTHER_TABS & set(data):
        raise ConfigError(
            "This preset of kohya_ss is not of its LoRA tab, and LoRA Studio trains LoRAs.",
            "Save one there: it says LoRA_type.",
            field=MARK,
        )
    return MARK in data


def read_preset(preset: Preset) -> tuple[dict[str, Any], int]:
    """(options of sd-scripts by name, epochs that max_train_steps follows from, 0 when they are given). The
    prompts are a list. Raises ConfigError."""
    for name, model in OTHER_MODELS.items():
        if preset.get(name):
            raise ConfigError(
                f"This preset trains a LoRA for {model}: its fields aren't known here.",
                "Take the TOML that the GUI wrote for its training.",
                field=name,
            )
    options: dict[str, Any] = {}
    for name, value in preset.items():
        its = RENAMED.get(name, name)
        if its in SAME or name in RENAMED or name in NOT_READ - {"epoch", "noise_offset_type"}:
            options[its] = value
    if preset.get(FLUX_MARK):
        options |= {its: preset.get(name) for name, its in FLUX_FILES.items()}
        options |= {name: preset.get(name) for name in ("fp8_base", "t5xxl_max_token_length")}
    options |= _network(preset) | _rates(preset) | _noise(preset) | _rhythm(preset)
    for name in ("optimizer_args", "lr_scheduler_args"):
        options[name] = _text(preset, name).replace('"', "").split()
    attention = preset.get("xformers")
    options["xformers"] = attention is True or attention == "xformers"
    options["sdpa"] = attention == "sdpa"
    options["no_half_vae"] = bool(preset.get(SDXL) and preset.get("sdxl_no_half_vae"))
    options["cache_text_encoder_outputs"] = bool(
        (preset.get(SDXL) and preset.get("sdxl_cache_text_encoder_outputs"))
        or (preset.get(FLUX_MARK) and preset.get("flux1_cache_text_encoder_outputs"))
    )
    options["train_inpainting"] = bool(preset.get("train_inpainting"))
    options["sample_prompts"] = [
        line.strip()
        for line in _text(preset, "sample_prompts").splitlines()
        if line.strip()[:1] not in ("", "#")
    ]
    options = {name: value for name, value in options.items() if not _is_nothing(value)}
    options |= further_words(_text(preset, "additional_parameters"))
    given = {"max_train_steps", "max_train_epochs", "dataset_config"} & set(options)
    return options, 0 if given else _whole(preset, "epoch", 1)


def further_words(text: str) -> dict[str, Any]:
    """Options of a command line: `--name value`, `--name=value`, `--switch`. Raises ConfigError."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise ConfigError(
            "additional_parameters: a quotation mark is left open.", field="additional_parameters"
        ) from None
    found: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found[name] = [value] if equals else []
        elif name:
            found[name].append(word)
    return {
        name: True if not values else values[0] if len(values) == 1 else values
        for name, values in found.items()
    }


def _network(preset: Preset) -> dict[str, Any]:
    kind = str(preset.get(MARK))
    pairs: list[str] = []
    if algo := ALGOS.get(kind):
        pairs = [f"algo={algo}", f"preset={_text(preset, 'LyCORIS_preset') or 'full'}"]
        names = OF_LYCORIS.get(algo, ("conv_dim", "conv_alpha", "rank_dropout", "module_dropout"))
        pairs += [f"{ITS_NAMES.get(name, name)}={_text(preset, name)}" for name in names if name in preset]
    elif kind in ("Kohya LoHa", "Kohya LoKr"):
        names = ("use_tucker", "rank_dropout", "module_dropout", *(("factor",) if kind[-2:] == "Kr" else ()))
        pairs = _on(preset, names)
        pairs += _on(preset, ("conv_dim", "conv_alpha")) if _number(preset, "conv_dim") else []
    elif kind in ("Standard", "Kohya LoCon", "LoRA-FA", "Kohya DyLoRA"):
        pairs = _on(preset, ("conv_dim", "conv_alpha")) if kind == "Kohya LoCon" else []
        pairs += _on(preset, OF_BLOCKS)
    elif preset.get(FLUX_MARK):
        pairs = _on(preset, OF_FLUX)
    module = LYCORIS if kind in ALGOS else MODULES.get(kind, kind)
    return {"network_module": module, "network_args": pairs + _on(preset, OF_LORAPLUS)}


def _rates(preset: Preset) -> dict[str, Any]:
    """Options of the learning rates; a rate of 0 leaves its part out."""
    unet, encoder = _number(preset, "unet_lr"), _number(preset, "text_encoder_lr")
    return {
        "learning_rate": _number(preset, "learning_rate"),
        "unet_lr": unet,
        "text_encoder_lr": [encoder] if encoder > 0 else [],
        "network_train_unet_only": encoder == 0 != unet,
        "network_train_text_encoder_only": unet == 0 != encoder,
    }


def _noise(preset: Preset) -> dict[str, Any]:
    kind = _text(preset, "noise_offset_type") or "Original"
    names = (
        ("multires_noise_iterations", "multires_noise_discount")
        if kind == "Multires"
        else ("noise_offset", "adaptive_noise_scale", "noise_offset_random_strength")
    )
    found = {name: preset.get(name) for name in names}
    if kind == "Multires" and not _number(preset, "multires_noise_iterations"):
        return {}
    return found


def _rhythm(preset: Preset) -> dict[str, Any]:
    """Options of steps and warm-up, which is a percentage there unless it is counted in steps."""
    steps, percent = _number(preset, "lr_warmup_steps"), _number(preset, "lr_warmup")
    cycles = _number(preset, "lr_scheduler_num_cycles") or _whole(preset, "epoch", 1)
    return {
        "max_train_steps": _number(preset, "max_train_steps"),
        "lr_warmup_steps": int(steps) if steps > 0 else percent / 100,
        "lr_scheduler_num_cycles": int(cycles),
    }


def _on(preset: Preset, names: tuple[str, ...]) -> list[str]:
    return [f"{name}={_text(preset, name)}" for name in names if not _is_nothing(preset.get(name))]


def _is_nothing(value: Any) -> bool:
    """Whether the GUI leaves a value out of the options it writes: in Python, 0 is False."""
    if isinstance(value, str):
        return not value.strip() or number_in(value) == 0
    return value in (None, False, 0, [])


def _text(preset: Preset, name: str) -> str:
    value = bounded(name, preset.get(name))
    return "" if value is None else str(value).strip()


def _number(preset: Preset, name: str) -> float:
    """The number of a setting, 0 for empty text. Raises ConfigError for other text."""
    text = _text(preset, name)
    number = number_in(text) if text and text not in ("None", "False") else 0
    if number is None or (isinstance(preset.get(name), bool) and number):
        raise ConfigError(f"{name}: {text[:80]!r} is no number.", field=name)
    return number


def _whole(preset: Preset, name: str, default: int) -> int:
    number = _number(preset, name)
    return int(number) if number >= 1 else default
