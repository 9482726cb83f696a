"""Files for sd-scripts' FLUX.1 and Anima and for musubi-tuner's Z-Image and FLUX.2: each option is used, or a
note or a refusal names it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.jobs.sd_scripts import launch_files
from lora_studio.kohya_config import OPTIONS, KohyaOptions, further_options, read_options
from lora_studio.kohya_config.flow_modules import FLOW_MODULES, FLOW_OPTIONS
from lora_studio.settings import Settings
from tests.support.kohya_presets import preset
from tests.test_kohya_presets import made_of, read_json

FLUX = "networks.lora_flux"
GUIDE = {
    **{"network_module": FLUX, "pretrained_model_name_or_path": "flux1-dev", "network_dim": 16},
    **{"clip_l": "clip_l.safetensors", "t5xxl": "t5xxl_fp16.safetensors", "ae": "ae.safetensors"},
    **{"timestep_sampling": "shift", "discrete_flow_shift": 3.1582, "model_prediction_type": "raw"},
    **{"guidance_scale": 1.0, "network_train_unet_only": True, "fp8_base": True, "sdpa": True},
    **{"cache_text_encoder_outputs": True, "cache_text_encoder_outputs_to_disk": True, "highvram": True},
    **{"mixed_precision": "bf16", "gradient_checkpointing": True, "blocks_to_swap": 18, "seed": 42},
    **{"optimizer_type": "adafactor", "lr_scheduler": "constant", "network_args": ["train_blocks=all"]},
    "optimizer_args": ["relative_step=False", "scale_parameter=False", "warmup_init=False"],
}
"""As sd-scripts' own guide trains FLUX.1 on 16 GB."""


def read(module: str = FLUX, *, ignore_unknown: bool = False, **options: Any) -> KohyaOptions:
    return read_options({"network_module": module, **options}, ignore_unknown=ignore_unknown)


def test_the_guide_of_flux_trains() -> None:
    options = read_options(GUIDE)
    made = made_of(options)
    noise = made.noise
    assert (noise.timestep_sampling, noise.discrete_flow_shift) == ("shift", 3.1582)
    assert (noise.model_prediction_type, noise.guidance_scale) == ("raw", 1.0)
    assert (made.network.algo, made.network.network_dim) == ("lora", 16)
    assert made.model.fp8_base_unet
    assert made.model.blocks_to_swap == 18
    notes = " ".join(options.notes)
    for named in ("ae, clip_l, t5xxl", "fp8_base is taken as fp8_base_unet", "highvram", "sdpa"):
        assert named in notes
    assert "does not read" not in notes
    kept = {line.partition(" ")[0] for line in further_options(options.given, made)}
    assert {"ae", "clip_l", "t5xxl", "fp8_base"} <= kept, "the engine sd-scripts needs them"


@pytest.mark.parametrize(
    ("module", "sampling", "shift", "guidance"),
    [
        ("networks.lora", "sigma", 3.0, 3.5),
        (FLUX, "sigma", 3.0, 3.5),
        ("networks.lora_anima", "sigmoid", 1.0, 3.5),
        ("networks.lora_zimage", "sigma", 1.0, 1.0),
        ("networks.lora_flux_2", "sigma", 1.0, 1.0),
    ],
)
def test_what_a_file_leaves_out_is_its_scripts_default(
    module: str, sampling: str, shift: float, guidance: float
) -> None:
    noise = made_of(read(module)).noise
    assert (noise.timestep_sampling, noise.discrete_flow_shift) == (sampling, shift)
    assert noise.guidance_scale == guidance
    given = made_of(read(module, timestep_sampling="shift", discrete_flow_shift=2.5)).noise
    assert (given.timestep_sampling, given.discrete_flow_shift) == ("shift", 2.5)


def test_a_shift_that_musubis_sigma_leaves_out_is_said() -> None:
    options = read("networks.lora_zimage", discrete_flow_shift=2.0, dit="z.safetensors")
    assert made_of(options).noise.discrete_flow_shift == 1.0
    assert any("doesn't move" in note for note in options.notes)
    assert options.values["pretrained_model_name_or_path"] == "z.safetensors"
    assert any("sigma_scaled" in note for note in read().notes)
    assert not any("sigma_scaled" in note for note in read(model_prediction_type="raw").notes)


@pytest.mark.parametrize(
    ("module", "option", "value"),
    [
        (FLUX, "apply_t5_attn_mask", True),
        (FLUX, "t5xxl_max_token_length", 256),
        ("networks.lora_anima", "mlp_lr", 1e-4),
        ("networks.lora_anima", "qwen3_max_token_length", "many"),
        ("networks.lora_zimage", "num_timestep_buckets", 4),
        ("networks.lora_zimage", "preserve_distribution_shape", True),
        (FLUX, "network_args", ["train_blocks=single"]),
        (FLUX, "network_args", ["split_qkv=True"]),
        (FLUX, "network_args", ["single_dim=4"]),
        (FLUX, "network_args", ["train_double_block_indices=0-3"]),
        ("networks.lora_anima", "network_args", ["train_llm_adapter=true"]),
        ("networks.lora_anima", "network_args", ["exclude_patterns=['.*']"]),
    ],
)
def test_what_is_not_built_stops_or_is_a_note(module: str, option: str, value: Any) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(module, **{option: value})
    word = value[0].partition("=")[0] if isinstance(value, list) else option
    assert word in str(refusal.value)
    passed = read(module, ignore_unknown=True, **{option: value})
    assert any(word in note for note in passed.notes)


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (FLUX, {"model_type": "chroma", "apply_t5_attn_mask": True, "guidance_scale": 0.0}),
        (FLUX, {"text_encoder_lr": [5e-5, 0], "t5xxl_max_token_length": 512}),
        (
            FLUX,
            {"network_args": ["train_blocks=all", "split_qkv=False", "train_t5xxl=False", "verbose=True"]},
        ),
        (FLUX, {"network_args": ["train_double_block_indices=all", "train_single_block_indices=all"]}),
        ("networks.lora_anima", {"network_args": ["train_llm_adapter=false"], "mlp_lr": None}),
        ("networks.lora_zimage", {"fp8_scaled": True, "fp8_llm": True, "weighting_scheme": "none"}),
        ("networks.lora_flux_2", {"model_version": "klein-base-4b", "timestep_sampling": "flux2_shift"}),
    ],
)
def test_what_means_the_same_here_is_taken(module: str, options: dict[str, Any]) -> None:
    made_of(read(module, **options))


ODD = [None, [], {}, [1, [2]], "x" * 300, -1, 1e400, float("nan"), {"a": 1}, 10**5000, "a\nb"]


def refusal_of(module: str, **options: Any) -> str:
    try:
        made_of(read(module, ignore_unknown=True, **options))
    except ConfigError as refusal:
        return str(refusal)
    return ""


@pytest.mark.parametrize("module", FLOW_MODULES)
@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_odd_values_are_one_sentence_or_none(module: str, odd: Any) -> None:
    for name in (*FLOW_OPTIONS, "dit", "timestep_sampling", "text_encoder_lr", "discrete_flow_shift"):
        assert len(refusal_of(module, **{name: odd}).splitlines()) <= 1
    assert len(refusal_of(odd).splitlines()) <= 1


def test_a_preset_of_the_gui_for_flux_is_taken(tmp_path: Path) -> None:
    fields = {
        **{"flux1_checkbox": True, "flux1_clip_l": "c.safetensors", "flux1_t5xxl": "t.safetensors"},
        **{"ae": "ae.safetensors", "fp8_base": True, "train_blocks": "all", "split_qkv": False},
        **{"flux1_cache_text_encoder_outputs": True, "timestep_sampling": "shift", "guidance_scale": 1.0},
        **{"discrete_flow_shift": 3.1582, "model_prediction_type": "raw", "t5xxl_max_token_length": 512},
    }
    options = read_json(tmp_path, preset("Flux1", **fields))
    made = made_of(options)
    assert (made.noise.timestep_sampling, made.noise.guidance_scale) == ("shift", 1.0)
    assert made.model.fp8_base_unet
    assert any("ae, clip_l, t5xxl" in note for note in options.notes)
    with pytest.raises(ConfigError, match="train_blocks=single"):
        read_json(tmp_path, preset("Flux1", **{**fields, "train_blocks": "single"}))


ADDED = json.loads((Path(__file__).parent / "golden" / "flow_script_options.json").read_text("utf-8"))
OF_FLOW = {*ADDED["flux_train_network.py"], *ADDED["anima_train_network.py"]}


@pytest.mark.parametrize("family", ["flux", "chroma", "anima"])
def test_the_engines_arguments_are_its_scripts_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Everything that is written is an option of that very script, within its choices."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    found = FoundBase(name="x", path_or_id=str(tmp_path), family=family, layout="folder")
    monkeypatch.setattr(launch_files, "find_base", lambda *_: found)
    for script in ADDED:
        (tmp_path / script).touch()
    files = ("pretrained_model_name_or_path", "ae", "clip_l", "t5xxl", "qwen3", "vae")
    config = TrainConfig.from_values(
        {
            **{"pretrained_model_name_or_path": "x", "train_data_dir": str(folder), "output_name": "x"},
            **{"output_dir": str(tmp_path / "out"), "engine": "sd-scripts", "blocks_to_swap": 4},
            **{"timestep_sampling": "flux_shift", "sigmoid_scale": 0.9, "weighting_scheme": "mode"},
            **{"gradient_checkpointing": True, "network_train_unet_only": True},
            "sd_scripts_args": tuple(f'{name} = "f.safetensors"' for name in files),
        }
    )
    settings = Settings(home=tmp_path, models=tmp_path, sd_scripts=tmp_path)
    launch = launch_files.prepare(config, settings, tmp_path / "job")
    options = tomllib.loads((tmp_path / "job" / "arguments.toml").read_text("utf-8"))
    added = ADDED[launch.command[1]]
    assert set(options) - set(files) <= {*added, *OPTIONS.keys() - OF_FLOW, "vae"}
    for name, choices in added.items():
        assert name not in options or choices is None or options[name] in choices
