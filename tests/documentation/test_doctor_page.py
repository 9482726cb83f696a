"""docs/guide/doctor.md: the report it shows is the doctor's, and its repair does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lora_studio.cli.main import main
from tests.support.serving import CHECKOUT

PAGE = (CHECKOUT / "docs" / "guide" / "doctor.md").read_text("utf-8")
BLOCK = "lora_unet_mid_block_attentions_0_transformer_blocks_0"
SIDES = {"attn1": 1280, "attn2": 768}
"""How wide the inputs of Stable Diffusion 1.x's attention are."""


def write_spoiled(path: Path) -> None:
    """A LoRA with a layer that is no numbers, one without an effect, and a folder in its metadata."""
    tensors = {}
    for name, value in {
        "attn1_to_k": 0.05,
        "attn1_to_q": np.nan,
        "attn2_to_v": 0.05,
        "attn2_to_k": 0.0,
    }.items():
        tensors[f"{BLOCK}_{name}.lora_down.weight"] = np.full((4, SIDES[name[:5]]), 0.05, np.float32)
        tensors[f"{BLOCK}_{name}.lora_up.weight"] = np.full((1280, 4), value, np.float32)
    about = {
        "ss_base_model_version": "sd_v1",
        "ss_network_dim": "4",
        "ss_network_alpha": "2",
        "ss_steps": "800",
    }
    save_file(tensors, path, metadata={**about, "ss_train_data_dir": "/home/ada/pictures/cat"})


def test_the_doctor_says_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_spoiled(tmp_path / "cat.safetensors")
    looked, repaired = re.findall(r"^lora-studio (.+)$", PAGE, re.MULTILINE)
    assert main(looked.split()) == 0
    (shown,) = re.findall(r"```\n(file .*?)```", PAGE, re.DOTALL)
    assert capsys.readouterr().out.strip() == shown.strip()
    assert main(repaired.split()) == 0
    said = capsys.readouterr().out
    assert "It works here, with a base that is Stable Diffusion 1.x." in said
    assert len(re.findall(r"^(?:A1111|Forge|ComfyUI|InvokeAI|diffusers) +yes$", said, re.MULTILINE)) == 5
    assert "private" not in said
