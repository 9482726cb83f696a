"""Every kind of network from the settings to the file and back: what the trainer has at the end is what the
generator draws with the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError
from lora_studio.families import family_of
from lora_studio.families.base import BaseModel
from lora_studio.generation.lora_lookup import WantedLora
from lora_studio.generation.lora_stack import LoraStack
from lora_studio.lora.file.lora_files import read_header
from lora_studio.trainer import train
from lora_studio.training.model import Engine
from tests.support.clip_texts import encode_captions
from tests.support.runs import engine_for
from tests.support.tiny import make_tiny_sdxl

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "locon": {"conv_dim": 2, "conv_alpha": 1.0},
    "dora": {"dora_wd": True, "conv_dim": 2},
    "dora-out": {"dora_wd": True, "wd_on_output": True},
    "loha": {"algo": "loha", "conv_dim": 2},
    "lokr": {"algo": "lokr", "factor": 2, "conv_dim": 2},
    "diag-oft": {"algo": "diag-oft", "conv_dim": 2},
    "blocks": {"block_dims": "2," * 12 + "0," + "3," * 11 + "5", "network_dim": 2},
}
FIRST = ("locon", "dora", "lokr")
"""Kinds of the first tier."""
QUICK = {"max_train_steps": 2, "learning_rate": 0.05}


def answer(unet: torch.nn.Module, text_encoder: torch.nn.Module) -> torch.Tensor:
    """The denoiser's answer to some latents and some words."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, 8, 8, generator=generator)
    tokens = torch.randint(0, 90, (2, 77), generator=generator)
    with torch.no_grad():
        text = text_encoder(tokens).last_hidden_state
        return unet(latents, torch.tensor([900, 100]), encoder_hidden_states=text, return_dict=False)[0]


def assert_same(one: torch.Tensor, other: torch.Tensor) -> None:
    """The same sums in the same order; where a weight begins in memory may still move the last bit."""
    torch.testing.assert_close(one, other, rtol=0, atol=2e-6)


def own_answer(engine: Engine) -> torch.Tensor:
    engine.train_mode(False)
    return answer(engine.base.unet, engine.base.text_encoder)


def drawn_answer(engine: Engine, file: Path | None, weight: float = 1.0) -> torch.Tensor:
    """Of a pipeline as the generator has it."""
    pipe = family_of(engine.base.found).load().pipeline()
    wanted = [WantedLora(slug="x", weight=weight, header=read_header(file))] if file else []
    LoraStack(pipe.components, "tiny").apply(wanted)
    return answer(pipe.unet, pipe.text_encoder)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(settings, id=kind, marks=() if kind in FIRST else pytest.mark.slow)
        for kind, settings in KINDS.items()
    ],
)
def test_the_saved_file_gives_the_trainers_own_output(make_config, settings: dict[str, Any]) -> None:
    config = make_config(**QUICK, **settings)
    file = Path(train(config).file)
    check_words(config, file)
    engine = engine_for(config)
    plain = own_answer(engine)
    assert torch.equal(plain, drawn_answer(engine, None)), "a fresh network changes nothing"
    tensors = load_file(file)
    engine.lora.load_state({key: tensor for key, tensor in tensors.items() if not key.endswith("alpha")})
    own = own_answer(engine)
    assert_same(own, drawn_answer(engine, file))
    assert (own - plain).abs().max() > 1e-4
    half = drawn_answer(engine, file, 0.5)
    assert (half - plain).abs().max() > 1e-5
    assert not torch.equal(half, own)


def check_words(config: TrainConfig, file: Path) -> None:
    """What the file and the folder say about themselves."""
    header, network = read_header(file), config.network
    assert (header.algo, header.dora) == (network.algo, network.dora_wd)
    assert (header.family, header.network_dim) == ("sd1", network.network_dim)
    module = "networks.lora" if network.is_plain else "lycoris.kohya"
    assert header.metadata["ss_network_module"] == module
    peft_knows = network.is_plain or network.algo in ("loha", "lokr") or network.wd_on_output
    assert (file.parent / "adapter_config.json").exists() == peft_knows


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["locon", "dora", "diag-oft"])
def test_files_for_sdxl_give_the_trainers_own_output(make_config, tmp_path: Path, kind: str) -> None:
    base = make_tiny_sdxl(tmp_path / "sdxl")
    config = make_config(base=base, **QUICK, **KINDS[kind])
    file = Path(train(config).file)
    engine = engine_for(config)
    weights = {key: tensor for key, tensor in load_file(file).items() if not key.endswith("alpha")}
    plain = family_answer(engine.base)
    engine.lora.load_state(weights)
    engine.train_mode(False)
    own = family_answer(engine.base)
    assert (own - plain).abs().max() > 1e-4
    parts = family_of(engine.base.found).load()
    header = read_header(file)
    LoraStack(parts.models(), "xl").apply([WantedLora(slug="x", weight=1.0, header=header)])
    assert_same(family_answer(parts), own)
    assert header.family == "sdxl"


def family_answer(parts: BaseModel) -> torch.Tensor:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        text = encode_captions(parts, ["a disc"])
        return parts.denoise(latents, torch.tensor([500]), text)


def test_plain_diffusers_reads_a_locon(make_config) -> None:
    config = make_config(**QUICK, conv_dim=3, conv_alpha=2.0, network_dim=2)
    result = train(config)
    pipe = StableDiffusionPipeline.from_pretrained(config.model.pretrained_model_name_or_path)
    pipe.load_lora_weights(result.path)
    ours = drawn_answer(engine_for(config), Path(result.file))
    assert_same(answer(pipe.unet, pipe.text_encoder), ours)


def test_lora_plus_and_blocks_are_groups_of_their_own(make_config) -> None:
    changes = {
        "learning_rate": 0.01,
        "text_encoder_lr": 0.005,
        "loraplus_lr_ratio": 4.0,
        "loraplus_unet_lr_ratio": 2.0,
        "up_lr_weight": ",".join(["1"] * 3 + ["0.5"] * 9),
        "down_lr_weight": "zeros+0.1",
        "block_lr_zero_threshold": 0.0,
    }
    groups = engine_for(make_config(**changes)).parameter_groups()
    found = {group["name"]: group["lr"] for group in groups}
    assert found == pytest.approx(
        {
            "textencoder": 0.005,
            "textencoder plus": 0.02,
            **{"unet block 1": 0.001, "unet block 1 plus": 0.002},
            **{"unet block 16": 0.005, "unet block 16 plus": 0.01},
            **{"unet block 17": 0.005, "unet block 17 plus": 0.01},
            **{"unet block 12": 0.01, "unet block 12 plus": 0.02},
        }
    )
    weights = [weight for group in groups for weight in group["params"]]
    assert len({id(weight) for weight in weights}) == len(weights)


def test_without_such_wishes_there_is_a_group_for_each_part(make_config) -> None:
    engine = engine_for(make_config(learning_rate=0.01, unet_lr=0.02))
    groups = engine.parameter_groups()
    assert [(group["name"], group["lr"]) for group in groups] == [("textencoder", 0.01), ("unet", 0.02)]
    assert [len(group["params"]) for group in groups] == [
        len(engine.lora.parameters(part)) for part in ("text_encoder", "unet")
    ]


def test_the_denoiser_can_be_left_as_it_is(make_config) -> None:
    result = train(make_config(network_train_text_encoder_only=True, **QUICK))
    assert {key.split("_")[1] for key in load_file(result.file)} == {"te"}


def test_a_run_goes_on_from_a_file_and_only_from_one_that_fits(make_config) -> None:
    first = Path(train(make_config("first", conv_dim=3, network_dim=5, **QUICK)).file)
    engine = engine_for(make_config("next", network_weights=str(first), dim_from_weights=True))
    assert_same(own_answer(engine), drawn_answer(engine, first))
    assert engine.notes == ()
    partly = make_config("unet", network_weights=str(first), network_dim=5, network_train_unet_only=True)
    assert "layers of first.safetensors are not trained here" in engine_for(partly).notes[0]
    with pytest.raises(ConfigError, match="another rank"):
        engine_for(make_config("other", network_weights=str(first), network_dim=6))


@pytest.mark.slow
def test_other_loras_are_merged_into_the_base_first(make_config) -> None:
    files = [
        train(make_config("a", **QUICK)).file,
        train(make_config("b", algo="loha", conv_dim=2, **QUICK)).file,
    ]
    config = make_config("merged", base_weights=tuple(files), base_weights_multiplier=(0.5,))
    engine = engine_for(config)
    pipe = family_of(engine.base.found).load().pipeline()
    LoraStack(pipe.components, "tiny").apply(
        [
            WantedLora(slug="a", weight=0.5, header=read_header(files[0])),
            WantedLora(slug="b", weight=1.0, header=read_header(files[1])),
        ]
    )
    torch.testing.assert_close(own_answer(engine), answer(pipe.unet, pipe.text_encoder), rtol=1e-4, atol=1e-5)


def test_norms_are_limited_after_each_step(make_config) -> None:
    config = make_config(scale_weight_norms=0.02, learning_rate=0.5, max_train_steps=2)
    tensors = load_file(train(config).file)
    norms = [
        (tensors[f"{name}.lora_up.weight"].flatten(1) @ tensors[f"{name}.lora_down.weight"].flatten(1)).norm()
        for name in dict.fromkeys(key.split(".")[0] for key in tensors)
    ]
    assert max(norms) == pytest.approx(0.02, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"algo": "loha"}, {"algo": "lokr"}, {"dora_wd": True}], ids=str)
def test_all_kinds_train_the_same_with_checkpointing_and_twice(make_config, settings: dict[str, Any]) -> None:
    changes = {**QUICK, **settings, "rank_dropout": 0.1, "module_dropout": 0.1}
    runs = [
        load_file(train(make_config(name, gradient_checkpointing=name == "on", **changes)).file)
        for name in ("off", "again", "on")
    ]
    for other in runs[1:]:
        assert all(torch.equal(tensor, other[key]) for key, tensor in runs[0].items())


def test_adapter_config_names_the_layers_with_their_own_rank(make_config) -> None:
    result = train(make_config(conv_dim=3, network_dim=2, network_alpha=2.0, **QUICK))
    said = json.loads((Path(result.path) / "adapter_config.json").read_text())
    assert (said["peft_type"], said["r"], said["lora_alpha"]) == ("LORA", 2, 2.0)
    assert set(said["rank_pattern"].values()) == {3}
    assert all("conv" in path for path in said["rank_pattern"])
