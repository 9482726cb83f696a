"""Options of the scripts for flow models: sd-scripts' for FLUX.1, Chroma and Anima, and musubi-tuner's for
Z-Image and FLUX.2, which take files of the same form. A file's `network_module` says which one it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_studio.catalog import CHROMA
from lora_studio.kohya_config.option_values import bounded, number_in
from lora_studio.kohya_config.options import OPTIONS

SIGMA = "sigma"


@dataclass(frozen=True, kw_only=True)
class FlowModule:
    """A module of plain LoRA for one model. `defaults` are what a file leaves out where that differs from the
    defaults of sd-scripts' first script; `is_musubis`: it is musubi-tuner's."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    is_musubis: bool = False


OF_MUSUBI: Mapping[str, Any] = {"discrete_flow_shift": 1.0, "guidance_scale": 1.0}
FLOW_MODULES: Mapping[str, FlowModule] = {
    "networks.lora_flux": FlowModule(),
    "networks.lora_anima": FlowModule(defaults={"timestep_sampling": "sigmoid", "discrete_flow_shift": 1.0}),
    "networks.lora_zimage": FlowModule(defaults=OF_MUSUBI, is_musubis=True),
    "networks.lora_flux_2": FlowModule(defaults=OF_MUSUBI, is_musubis=True),
}
PARTS_OF_BASE = frozenset(
    {
        *("ae", "clip_l", "t5xxl", "qwen3", "llm_adapter_path", "t5_tokenizer_path", "text_encoder"),
        *("model_type", "model_version", "vae", "vae_dtype"),
    }
)
"""Options that name files of the base, or say which one it is: a base model here has all that."""
CHANGE_NOTHING = frozenset(
    {
        *("text_encoder_batch_size", "attn_mode", "split_attn", "vae_chunk_size", "vae_disable_cache"),
        *("unsloth_offload_checkpointing", "split_mode", "mem_eff_save", "show_timesteps", "flash_attn"),
        *("flash3", "sage_attn", "img_in_txt_in_offloading", "use_pinned_memory_for_block_swap"),
        *("fp8_llm", "fp8_text_encoder", "use_32bit_attention", "single_blocks_to_swap"),
        *("double_blocks_to_swap", "compile", "compile_mode", "compile_backend", "compile_dynamic"),
        "compile_fullgraph",
    }
)
"""Options of the machine: its speed, its memory, and the precision of what is not trained."""
LONGEST_TEXTS: Mapping[str, int] = dict.fromkeys(
    ("t5xxl_max_token_length", "qwen3_max_token_length", "t5_max_token_length"), 512
)
RATES_OF_LAYERS = ("self_attn_lr", "cross_attn_lr", "mlp_lr", "mod_lr", "llm_adapter_lr")
NOT_BUILT = (*RATES_OF_LAYERS, "preserve_distribution_shape", "num_timestep_buckets")
EIGHT_BITS = ("fp8_base", "fp8_scaled")
FLOW_OPTIONS = frozenset(
    {*PARTS_OF_BASE, *CHANGE_NOTHING, *LONGEST_TEXTS, *NOT_BUILT, *EIGHT_BITS, "apply_t5_attn_mask"}
)
"""Options that only such files have."""
OFF = (None, False, "", "none", "None", 0)


@dataclass(kw_only=True)
class FlowOptions:
    """Options of such a file: those taken further, sentences, those that stop the run or change nothing."""

    further: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    not_built: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def take_flow_options(given: Mapping[str, Any]) -> FlowOptions:
    """Take the options that only these scripts have; of other files everything goes further as it is."""
    taken = FlowOptions(further=dict(given))
    module = FLOW_MODULES.get(_text(given, "network_module"))
    if module is None:
        return taken
    for name in FLOW_OPTIONS & given.keys():
        bounded(name, given[name])
    parts = [name for name in sorted(PARTS_OF_BASE & given.keys()) if given[name] not in OFF]
    for name in PARTS_OF_BASE:
        taken.further.pop(name, None)
    if parts:
        taken.notes.append(f"Passed over, since a base model here has it all: {', '.join(parts)}.")
    taken.passed_over += [
        name for name in sorted(CHANGE_NOTHING & given.keys()) if taken.further.pop(name) not in OFF
    ]
    _take_eight_bits(taken)
    _take_texts(taken, is_chroma=_text(given, "model_type") == CHROMA)
    for name in NOT_BUILT:
        if taken.further.pop(name, None) not in OFF:
            taken.not_built.append(name)
    if base := taken.further.pop("dit", None):
        taken.further.setdefault("pretrained_model_name_or_path", base)
    _take_rates(taken)
    _take_times(taken, module)
    return taken


def defaults_of(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of a file of these scripts that leaves them out, where they differ from the usual ones."""
    module = FLOW_MODULES.get(_text(given, "network_module"))
    return module.defaults if module else {}


def options_in(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a file that its script reads."""
    is_flow = _text(given, "network_module") in FLOW_MODULES
    return {
        name: value for name, value in given.items() if name in OPTIONS or (is_flow and name in FLOW_OPTIONS)
    }


def _take_eight_bits(taken: FlowOptions) -> None:
    names = [name for name in EIGHT_BITS if taken.further.pop(name, None) not in OFF]
    if names:
        taken.further["fp8_base_unet"] = True
        taken.notes.append(
            f"{', '.join(names)} is taken as fp8_base_unet: the denoiser in 8 bits, without scales."
        )


def _take_texts(taken: FlowOptions, *, is_chroma: bool) -> None:
    """Chroma's texts are cut by their mask here, too; FLUX.1's are not."""
    if taken.further.pop("apply_t5_attn_mask", None) not in OFF and not is_chroma:
        taken.not_built.append("apply_t5_attn_mask")
    for name, longest in LONGEST_TEXTS.items():
        value = taken.further.pop(name, None)
        if value not in OFF and number_in(str(value)) != longest:
            taken.not_built.append(f"{name} {str(value)[:20]} (always {longest})")


def _take_rates(taken: FlowOptions) -> None:
    """The second rate is T5's, which isn't trained unless a key of network_args says so."""
    rates = taken.further.get("text_encoder_lr")
    if isinstance(rates, list) and len(rates) == 2:
        taken.further["text_encoder_lr"] = rates[:1]


def _take_times(taken: FlowOptions, module: FlowModule) -> None:
    sampling = _text(taken.further, "timestep_sampling") or SIGMA
    if module.is_musubis and sampling == SIGMA and "timestep_sampling" not in module.defaults:
        if taken.further.get("discrete_flow_shift") not in OFF:
            taken.notes.append("discrete_flow_shift is without effect: musubi-tuner's sigma doesn't move.")
        taken.further["discrete_flow_shift"] = 1.0
    is_flux = not module.is_musubis and not module.defaults
    if is_flux and "model_prediction_type" not in taken.further:
        taken.notes.append(
            "model_prediction_type is raw: left out, sd-scripts takes sigma_scaled, which doesn't go with "
            "its own target."
        )


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    return value if isinstance(value, str) else ""
