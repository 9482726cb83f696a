from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lora_studio.catalog import BASES, STARTER
from lora_studio.errors import BrokenFile, FamilyMismatch, ModelFileError, UnknownFormat
from lora_studio.families import family_of
from lora_studio.families.base_files.locate import find_base
from lora_studio.settings import Settings
from tests.support.tiny import make_tiny_sdxl


@pytest.fixture
def settings(tmp_path: Path, tiny_base: Path) -> Settings:
    """A studio whose embedded base is the tiny one."""
    (tmp_path / "models" / "base").mkdir(parents=True)
    return Settings(home=tmp_path / "home", models=tmp_path / "models", starter=tiny_base)


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_starter_is_the_embedded_folder(settings: Settings, tiny_base: Path) -> None:
    found = find_base("starter", settings)
    assert (found.path_or_id, found.layout, found.family) == (str(tiny_base), "folder", STARTER.family)
    assert found.entry is STARTER


def test_a_missing_starter_is_told(settings: Settings, tmp_path: Path) -> None:
    gone = Settings(home=settings.home, models=settings.models, starter=tmp_path / "gone")
    with pytest.raises(ModelFileError, match="embedded base model is missing"):
        find_base("starter", gone)


def test_a_folder_is_taken_as_it_is(settings: Settings, tiny_base: Path, tmp_path: Path) -> None:
    found = find_base(str(shutil.copytree(tiny_base, tmp_path / "copy")), settings)
    assert (found.layout, found.family, found.entry) == ("folder", "sd1", None)


@pytest.mark.parametrize(("width", "family"), [(768, "sd1"), (1024, "sd2")])
def test_the_text_width_tells_the_family(
    settings: Settings, tiny_base: Path, tmp_path: Path, width: int, family: str
) -> None:
    base = tmp_path / "wide"
    for name in ("model_index.json", "unet/config.json"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny_base / name, base / name)
    change_json(base / "unet" / "config.json", cross_attention_dim=width)
    assert find_base(str(base), settings).family == family


def test_names_in_models_base_are_found(settings: Settings, tiny_base: Path) -> None:
    shutil.copytree(tiny_base, settings.bases / "mine")
    assert find_base("mine", settings).path_or_id == str(settings.bases / "mine")


def test_a_local_copy_of_a_catalog_base_goes_before_the_hub(settings: Settings, tiny_base: Path) -> None:
    assert find_base("sd15", settings).layout == "hub"
    assert find_base("sd15", settings).path_or_id == BASES["sd15"].source
    shutil.copytree(tiny_base, settings.bases / "sd15")
    found = find_base("sd15", settings)
    assert (found.layout, found.family) == ("folder", "sd1")
    assert found.entry is BASES["sd15"]


def test_hub_ids_pass_and_the_catalogs_own_are_recognised(settings: Settings) -> None:
    found = find_base("somebody/some-model.v2", settings)
    assert (found.layout, found.path_or_id, found.family) == ("hub", "somebody/some-model.v2", "")
    assert find_base(BASES["sd21"].source, settings).entry is BASES["sd21"]


@pytest.mark.parametrize(
    "name", ["nothing", "no/such/folder", "../nowhere", "a b/c", "gone.safetensors", "x/gone.safetensors"]
)
def test_a_base_that_is_nowhere_is_told(settings: Settings, name: str) -> None:
    with pytest.raises(ModelFileError, match="There is no base model") as caught:
        find_base(name, settings)
    assert "starter" in caught.value.hint


@pytest.mark.parametrize("name", ["no/such/mine.safetensors", "somebody/some/mine.safetensors", "/gone/mine"])
def test_a_missing_path_is_no_other_file_of_its_name(settings: Settings, tiny_base: Path, name: str) -> None:
    shutil.copytree(tiny_base, settings.bases / "mine")
    (settings.bases / "mine.safetensors").write_bytes(b"x")
    try:
        found = find_base(name, settings)
    except ModelFileError:
        return
    assert (found.layout, found.path_or_id) == ("hub", name)


def test_a_repository_of_the_hub_may_lie_here_by_its_last_name(settings: Settings, tiny_base: Path) -> None:
    shutil.copytree(tiny_base, settings.bases / "mine")
    assert find_base("somebody/mine", settings).path_or_id == str(settings.bases / "mine")


def test_a_folder_of_something_else_is_told(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(
        UnknownFormat, match=r"photos is no diffusers base model: it has no model_index\.json"
    ):
        find_base(str(tmp_path / "photos"), settings)


def test_another_pipeline_is_told_by_name(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model_index.json").write_text('{"_class_name": "SanaPipeline"}')
    with pytest.raises(FamilyMismatch, match="other is a SanaPipeline"):
        find_base(str(tmp_path / "other"), settings)


def test_sdxl_is_told_by_its_pipeline(settings: Settings, tmp_path: Path) -> None:
    base = make_tiny_sdxl(tmp_path / "xl")
    found = find_base(str(base), settings)
    assert (found.layout, found.family) == ("folder", "sdxl")
    assert type(family_of(found)).__name__ == "StableDiffusionXL"


def test_a_hub_model_fetched_before_tells_its_family(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_tiny_sdxl(tmp_path / "xl")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda _, name: str(base / name))
    assert find_base("somebody/xl", settings).family == "sdxl"


def test_an_unknown_hub_model_is_asked_what_it_is(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_tiny_sdxl(tmp_path / "xl")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, name: str(base / name))
    assert find_base("somebody/xl", settings).family == ""
    family = family_of(find_base("somebody/xl", settings))
    assert (family.found.family, type(family).__name__) == ("sdxl", "StableDiffusionXL")


def test_a_damaged_index_is_told(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "model_index.json").write_text("{")
    with pytest.raises(BrokenFile, match="can't be read"):
        find_base(str(tmp_path / "bad"), settings)


def checkpoint(path: Path, width: int = 768, text: str = "cond_stage_model.transformer.x") -> Path:
    key = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    save_file({key: torch.ones(8, width), text: torch.ones(1)}, path)
    return path


@pytest.mark.parametrize(("width", "family"), [(768, "sd1"), (1024, "sd2"), (16, "sd1")])
def test_a_checkpoint_file_tells_its_family(
    settings: Settings, tmp_path: Path, width: int, family: str
) -> None:
    file = checkpoint(tmp_path / "model.safetensors", width)
    found = find_base(str(file), settings)
    assert (found.layout, found.family, found.path_or_id) == ("file", family, str(file))


OTHERS = {
    "double_blocks.0.img_mlp.fc1.weight": "HunyuanVideo",
    "model.diffusion_model.joint_blocks.3.x_block.attn.qkv.weight": "Stable Diffusion 3",
    "blocks.0.self_attn.q.weight": "Wan",
}


def test_checkpoint_files_that_do_not_work_here_are_told(settings: Settings, tmp_path: Path) -> None:
    xl = checkpoint(tmp_path / "xl.safetensors", 2048, "conditioner.embedders.1.model.x")
    assert find_base(str(xl), settings).family == "sdxl"
    refiner = checkpoint(tmp_path / "refiner.safetensors", 1280, "conditioner.embedders.0.model.x")
    with pytest.raises(UnknownFormat, match="no Stable Diffusion checkpoint"):
        find_base(str(refiner), settings)
    attention = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    for name, metadata in (("told", {"ss_base_model_version": "sdxl_base_v1-0"}), ("untold", None)):
        shapes = {"down": (2, 2048), "up": (640, 2)}
        lora = {f"{attention}.lora_{part}.weight": torch.ones(shape) for part, shape in shapes.items()}
        save_file(lora, tmp_path / f"{name}.safetensors", metadata=metadata)
        with pytest.raises(UnknownFormat, match=f"{name}.safetensors is a LoRA for Stable Diffusion XL, not"):
            find_base(str(tmp_path / f"{name}.safetensors"), settings)
    for key, title in OTHERS.items():
        save_file({key: torch.ones(2, 2)}, tmp_path / "other.safetensors")
        with pytest.raises(FamilyMismatch, match=rf"other\.safetensors is made for {title}\."):
            find_base(str(tmp_path / "other.safetensors"), settings)
    (tmp_path / "old.ckpt").write_bytes(b"PK")
    with pytest.raises(UnknownFormat, match=r"old\.ckpt is no \.safetensors"):
        find_base(str(tmp_path / "old.ckpt"), settings)


def test_looking_a_base_up_loads_no_torch(tiny_base: Path) -> None:
    code = (
        "import sys; from lora_studio.families.base_files.locate import find_base; "
        f"find_base({str(tiny_base)!r}); find_base('a/b'); "
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["a" * 5000, "~nobody-of-this-name/x", "x\0y"])
def test_what_can_be_no_path_is_told(name: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        find_base(name)
    assert caught.value.path == name
    assert len(caught.value.message) < 250
