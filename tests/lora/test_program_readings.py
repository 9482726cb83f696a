"""The rules of the table of other programs against diffusers itself: what is read, what refuses a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from lora_studio.lora.inspection.file_report import inspect_file
from lora_studio.lora.repair.repair_request import RepairRequest
from lora_studio.lora.repair.repaired_file import repair_file
from tests.support.layer_formulas import some
from tests.support.loras import write_lora
from tests.support.tiny import make_tiny_base

pytestmark = pytest.mark.slow
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def forms(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensors]:
    """A LoRA of the base in each spelling."""
    folder = tmp_path_factory.mktemp("forms")
    files = {"kohya": write_lora(folder / "kohya.safetensors", base)}
    for spelling in ("diffusers", "comfyui"):
        files[spelling] = folder / f"{spelling}.safetensors"
        repair_file(files["kohya"], RepairRequest(spelling=spelling), files[spelling])
    return {name: load_file(file) for name, file in files.items()}


FILES: dict[str, Callable[[dict[str, Tensors]], Tensors]] = {
    "Kohya's names": lambda forms: forms["kohya"],
    "diffusers' names": lambda forms: forms["diffusers"],
    "ComfyUI's names": lambda forms: forms["comfyui"],
    "diffusers' names with an alpha": lambda forms: {
        **forms["diffusers"],
        f"{next(iter(forms['diffusers'])).rpartition('.lora_')[0]}.alpha": torch.tensor(1.0),
    },
    "an embedding": lambda forms: {**forms["kohya"], "bundle_emb.w.string_to_param.*": some(1, 16)},
    "a difference": lambda forms: {**forms["kohya"], "lora_unet_conv_norm_out.diff": some(16)},
    "LyCORIS' prefix": lambda forms: {
        key.replace("lora_unet_", "lycoris_"): tensor
        for key, tensor in forms["kohya"].items()
        if key.startswith("lora_unet_")
    },
    "no prefix but PEFT's": lambda forms: {
        key.replace("unet.", "base_model.model.", 1): tensor
        for key, tensor in forms["diffusers"].items()
        if key.startswith("unet.")
    },
}


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_diffusers_takes_what_the_table_says(
    base: Path, forms: dict[str, Tensors], tmp_path: Path, make: Callable[[dict[str, Tensors]], Tensors]
) -> None:
    file = tmp_path / "x.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in make(forms).items()}, file)
    (reading,) = (one for one in inspect_file(file).programs if one.program == "diffusers")
    assert (reading.outcome == "whole") is has_an_effect(base, file), reading.sentence


def has_an_effect(base: Path, file: Path) -> bool:
    """Whether diffusers puts the file on; refused ones raise."""
    pipe: Any = StableDiffusionPipeline.from_pretrained(base)
    try:
        pipe.load_lora_weights(file)
    except (ValueError, KeyError, IndexError):
        return False
    return bool(getattr(pipe.unet, "peft_config", None))
