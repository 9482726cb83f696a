from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.command import Command
from tests.support.layer_formulas import some
from tests.support.strange_loras import LAYER, strange_lora


def a_lora(path: Path, seed: int = 0) -> Path:
    tensors = {
        f"{LAYER}.lora_down.weight": some(4, 16, seed=seed),
        f"{LAYER}.lora_up.weight": some(16, 4, seed=seed),
        f"{LAYER}.alpha": torch.tensor(2.0),
    }
    said = {"ss_base_model_version": "sd_v1", "ss_sd_model_name": "/home/ada/v1.safetensors"}
    save_file(tensors, path, said)
    return path


def test_a_file_is_described_in_lines_and_as_json(command: Command, tmp_path: Path) -> None:
    file = a_lora(tmp_path / "ink.safetensors")
    outcome = command("inspect", file)
    assert outcome.code == 0, outcome.err
    for words in (
        "Stable Diffusion 1.x",
        "alpha",
        "denoiser, mid_block",
        "diffusers  yes",
        "a user name: ada",
    ):
        assert words in outcome.out
    report = command("inspect", file, "--json").json["report"]
    assert (report["what"], report["family"], report["alpha"]) == ("LoRA", "sd1", 2.0)
    assert report["on_base"] is None


def test_a_file_is_repaired_beside_itself(command: Command, tmp_path: Path) -> None:
    file = a_lora(tmp_path / "ink.safetensors")
    words = ("spelling=diffusers", "save_precision=fp16", "strip_private")
    for name in ("ink-repaired.safetensors", "ink-repaired-2.safetensors"):
        outcome = command("inspect", file, "--fix", *words)
        assert outcome.code == 0, outcome.err
        assert outcome.out.startswith(f"Written: {tmp_path / name}")
        assert "/home/ada" not in outcome.out
        assert all(key.startswith("unet.mid_block.") for key in load_file(tmp_path / name))


def test_files_are_merged(command: Command, tmp_path: Path) -> None:
    first, second = a_lora(tmp_path / "a.safetensors"), a_lora(tmp_path / "b=2.safetensors", seed=5)
    target = tmp_path / "both.safetensors"
    outcome = command(
        "inspect", first, "--merge", second, f"{first}=-0.5", "--ratio", "0.5", "--save_to", target, "--json"
    )
    assert outcome.code == 0, outcome.err
    assert outcome.json["file"] == str(target)
    assert outcome.json["report"]["ranks"] == {"12": 1}
    again = command("inspect", first, "--merge", second, "--save_to", target)
    assert again.code == 2
    assert "File exists" in again.err


@pytest.mark.parametrize(
    "words",
    [
        ("nowhere.safetensors",),
        ("{file}", "--fix", "colour=red"),
        ("{file}", "--fix", "new_rank=-1"),
        ("{file}", "--fix", "strip_private", "--save_to", "{folder}/x.pt"),
        ("{file}", "--save_to", "{folder}/x.safetensors"),
        ("{file}", "--merge", "{file}=much"),
        ("{file}", "--merge", "nowhere.safetensors"),
        ("{file}", "--base", "nowhere"),
    ],
)
def test_what_is_wrong_is_one_sentence(command: Command, tmp_path: Path, words: tuple[str, ...]) -> None:
    file = strange_lora(tmp_path / "ink.safetensors")
    outcome = command("inspect", *(word.format(file=file, folder=tmp_path) for word in words))
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["ink.safetensors"]


def test_a_file_is_measured_on_a_base(command: Command, tmp_path: Path) -> None:
    """The embedded base has a layer of this name, of other sizes, and one that fits."""
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    from lora_studio.settings import Settings
    from tests.support.tiny import make_tiny_base

    make_tiny_base(Settings.from_environment().bases / "tiny")
    tensors = {f"{layer}.lora_down.weight": some(2, 16), f"{layer}.lora_up.weight": some(16, 2)}
    save_file(tensors, tmp_path / "x.safetensors")
    outcome = command("inspect", tmp_path / "x.safetensors", "--base", "tiny", "--json")
    assert outcome.code == 0, outcome.err
    measured = outcome.json["report"]["on_base"]
    assert measured["layers"] == 1
    assert 0.01 < measured["relative"] < 10
    assert {one["bits"] for one in measured["survivals"]} == {"fp8", "int8"}
    json.dumps(measured, allow_nan=False)
