"""Bases that are distilled for few steps, known by their files whatever they are called; no weights here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_studio.catalog import BASES, check_trainable
from lora_studio.errors import ConfigError
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.locate import find_base
from lora_studio.settings import Settings

FLUX = ("FluxPipeline", "FluxTransformer2DModel")
ZIMAGE = ("ZImagePipeline", "ZImageTransformer2DModel")
DYNAMIC = {"use_dynamic_shifting": True, "shift": 3.0}
SCHNELL: dict[str, object] = {"guidance_embeds": False}
DEV: dict[str, object] = {"guidance_embeds": True}


def folder_of(
    path: Path, kinds: tuple[str, str], transformer: dict[str, object], scheduler: dict[str, object] | None
) -> str:
    (path / "transformer").mkdir(parents=True)
    (path / "scheduler").mkdir()
    (path / "model_index.json").write_text(json.dumps({"_class_name": kinds[0]}))
    (path / "transformer" / "config.json").write_text(json.dumps({"_class_name": kinds[1], **transformer}))
    if scheduler is not None:
        (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    return str(path)


@pytest.mark.parametrize(
    ("name", "kinds", "transformer", "scheduler", "instead", "is_doubted"),
    [
        ("mine", ZIMAGE, {}, {"shift": 3.0}, "z-image", False),
        ("mine", ZIMAGE, {}, {"shift": 3}, "z-image", False),
        ("mine", ZIMAGE, {}, {"shift": 6.0}, "", False),
        ("mine", ZIMAGE, {}, {"shift": 4.5}, "", True),
        ("mine", ZIMAGE, {}, {"shift": True}, "", True),
        ("mine", ZIMAGE, {}, {"shift": [3.0]}, "", True),
        ("mine", ZIMAGE, {}, None, "", True),
        ("mine", ZIMAGE, {}, DYNAMIC, "", False),
        ("My Turbo", ZIMAGE, {}, {"shift": 6.0}, "z-image", False),
        ("turbo", ZIMAGE, {}, None, "z-image", False),
        ("Z-Image-De-Turbo", ZIMAGE, {}, {"shift": 3.0}, "", False),
        ("deturbo mix", ZIMAGE, {}, {"shift": 3.0}, "", False),
        ("mine", FLUX, SCHNELL, {"shift": 1.0, "use_dynamic_shifting": False}, "flux1-dev", False),
        ("mine", FLUX, {}, {"shift": 1.0}, "flux1-dev", False),
        ("mine", FLUX, DEV, DYNAMIC, "", False),
        ("mine", FLUX, DEV, {"shift": 1.0}, "", False),
        ("mine", FLUX, SCHNELL, DYNAMIC, "", True),
        ("mine", FLUX, SCHNELL, None, "", True),
        ("flux-dev-de-distill", FLUX, SCHNELL, {"shift": 1.0}, "", False),
        ("undistilled schnell", FLUX, SCHNELL, {"shift": 1.0}, "", False),
        ("schnell", FLUX, DEV, DYNAMIC, "flux1-dev", False),
    ],
)
def test_what_was_renamed_is_known_by_its_files(
    tmp_path: Path,
    name: str,
    kinds: tuple[str, str],
    transformer: dict[str, object],
    scheduler: dict[str, object] | None,
    instead: str,
    is_doubted: bool,
) -> None:
    found = find_base(folder_of(tmp_path / name, kinds, transformer, scheduler))
    assert found.traits.train_instead == instead
    assert bool(found.doubt) is is_doubted
    if instead:
        assert found.traits.num_inference_steps < 10
        with pytest.raises(ConfigError) as refusal:
            check_trainable(found.traits)
        assert f"({instead})" in refusal.value.hint
        assert "de-distilled" in refusal.value.hint
        assert "train_distilled" in refusal.value.hint
        check_trainable(found.traits, confirmed=True)
    else:
        check_trainable(found.traits)


def test_turbo_in_the_place_of_z_image_is_not_z_image() -> None:
    settings = Settings.from_environment()
    folder_of(settings.bases / "z-image", ZIMAGE, {}, {"shift": 3.0})
    found = find_base("z-image", settings)
    assert found.entry is BASES["z-image"]
    assert found.traits.num_inference_steps == 9
    with pytest.raises(ConfigError) as refusal:
        check_trainable(found.traits)
    assert "another base" in refusal.value.hint


def test_the_doubt_names_the_base_to_train(tmp_path: Path) -> None:
    found = find_base(folder_of(tmp_path / "mine", FLUX, SCHNELL, DYNAMIC))
    assert "FLUX.1 schnell" in found.doubt
    assert "flux1-dev" in found.doubt
    assert FoundBase(name="x", path_or_id="x/y", family="sd1", layout="hub").doubt == ""
