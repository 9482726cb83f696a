"""LoRA files looked into, repaired and merged over the API."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load, load_file

from tests.support.api_caller import Caller, Refused, write_lora


def test_a_lora_and_a_file_are_looked_into(studio: Caller, tmp_path: Path) -> None:
    file = write_lora(tmp_path / "Looked into.safetensors", 0.03)
    (made,) = studio.run("import_lora", studio.upload(file))
    found = studio.run("inspect_lora", made["slug"])
    assert (found["what"], found["family"], found["ranks"]) == ("LoRA", "sd1", {"4": 1})
    assert found["blocks"][0]["norm"] == pytest.approx(found["norm"])
    assert [one["outcome"] for one in found["programs"]] == ["whole"] * 5
    assert found["on_base"] is None
    before = studio.run("list_loras")
    sent = studio.run("inspect_file", studio.upload(file))
    assert {**sent, "name": ""} == {**found, "name": ""}
    assert studio.run("list_loras") == before
    json.dumps(found, allow_nan=False)


def test_a_repaired_copy_is_a_lora_of_its_own(studio: Caller, tmp_path: Path) -> None:
    file = write_lora(tmp_path / "To repair.safetensors", 0.04)
    (old,) = studio.run("import_lora", studio.upload(file))
    for options, title in (({"strip_private": True}, ""), ({"spelling": "diffusers"}, "In other names")):
        made = studio.run("repair_lora", old["slug"], options, title)
        assert made["lora"]["title"] == (title or "To repair, repaired")
        assert made["lora"]["slug"] != old["slug"]
    new = load(studio.fetch(made["lora"]["download_url"]))
    assert all(key.startswith("unet.") for key in new)
    assert studio.fetch(old["download_url"]) == file.read_bytes()
    with pytest.raises(Refused, match="No repair"):
        studio.run("repair_lora", old["slug"], {}, "")


def test_loras_are_merged(studio: Caller, tmp_path: Path) -> None:
    files = [write_lora(tmp_path / f"Part {n}.safetensors", 0.01 * n) for n in (5, 6)]
    one, other = (studio.run("import_lora", studio.upload(file))[0] for file in files)
    loras = [{"slug": one["slug"], "weight": 0.5}, {"slug": other["slug"]}]
    made = studio.run("merge_loras", loras)["lora"]
    assert made["title"] == f"{one['title']} + {other['title']}"
    assert made["network_dim"] == sum(lora["network_dim"] for lora in (one, other))
    layer = next(key for key in load_file(files[0]) if key.endswith("lora_down.weight"))
    sides = [load_file(file)[layer].shape[0] for file in files]
    assert load(studio.fetch(made["download_url"]))[layer].shape[0] == sum(sides)
    with pytest.raises(Refused, match="2 to 16"):
        studio.run("merge_loras", loras[:1])


def test_a_file_for_another_program_is_no_lora_of_the_library(studio: Caller, tmp_path: Path) -> None:
    file = write_lora(tmp_path / "To export.safetensors", 0.0731)
    (old,) = studio.run("import_lora", studio.upload(file))
    before = studio.run("list_loras")
    made = studio.run("export_lora", old["slug"], {"spelling": "comfyui", "save_precision": "fp16"})
    assert (made["file"], made["notes"]) == ("to-export-comfyui-fp16.safetensors", [])
    content = studio.fetch(made["download_url"])
    assert len(content) == made["size_bytes"]
    weights = {key: tensor for key, tensor in load(content).items() if not key.endswith("alpha")}
    assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.float16"}
    as_it_is = studio.run("export_lora", old["slug"])
    assert studio.fetch(as_it_is["download_url"]) == file.read_bytes()
    assert studio.run("list_loras") == before
