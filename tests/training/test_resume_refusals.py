"""What a training that goes on must have in common with the one that was broken off."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.buckets import Placement
from lora_studio.data.edits.overlay import apply_edits
from lora_studio.data.edits.picture_edits import FlipPicture, RotatePicture
from lora_studio.data.latent_cache import PlacedPicture
from lora_studio.data.training_set.folders import read_folder
from lora_studio.errors import ConfigError, DatasetError, ModelFileError
from lora_studio.events import Event
from lora_studio.lora.run_states import state_files, state_folder
from lora_studio.settings import Settings
from lora_studio.trainer import train
from lora_studio.training.resuming.compatibility import check_pictures, picture_facts
from tests.support.configs import ConfigMaker
from tests.support.runs import paused_at, state_folder_of, tensor_hash
from tests.support.tiny import make_pictures, make_tiny_base


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network_dim": 8}, "network_dim was 4 when the state of step 2 was saved and is 8 now"),
        ({"learning_rate": 0.5}, "learning_rate was 0.01"),
        ({"seed": 1}, "seed was 42"),
        ({"flip_aug": True}, "flip_aug was False"),
        ({"max_train_steps": 1}, "max_train_steps was 4"),
        ({"lr_scheduler": "cosine"}, "lr_scheduler was constant"),
    ],
)
def test_other_settings_are_refused_by_name(make_config: ConfigMaker, changes: dict, said: str) -> None:
    config = make_config("paused")
    paused_at(config, 2)
    events: list[Event] = []
    with pytest.raises(ConfigError, match=said) as caught:
        train(config.with_values(changes), events.append, resume_from=state_folder_of(config))
    assert caught.value.field in changes
    assert "new run" in caught.value.hint
    assert events == []
    assert state_files(state_folder_of(config))


@pytest.mark.slow
def test_settings_that_change_nothing_learned_may_change(make_config: ConfigMaker, tmp_path: Path) -> None:
    config = make_config("paused")
    paused_at(config, 2)
    moved = Path(config.output.output_dir).rename(tmp_path / "elsewhere")
    other = config.with_values(
        {
            "title": "Another",
            "output_dir": str(moved),
            "save_every_n_steps": 3,
            "sample_every_n_steps": 4,
            "sample_prompts": ("zwx",),
            "gradient_checkpointing": True,
            "cache_latents": False,
            "max_train_steps": 6,
        }
    )
    result = train(other, resume_from=state_folder(moved))
    assert (result.steps, result.path) == (6, str(moved))
    assert tensor_hash(result) == tensor_hash(train(make_config("whole", max_train_steps=6)))


def _touch(folder: Path) -> None:
    with Image.open(folder / "picture-01.png") as picture:
        changed = picture.copy()
    changed.putpixel((0, 0), (1, 2, 3))
    changed.save(folder / "picture-01.png")


CHANGES: dict[str, Callable[[Path], object]] = {
    "The picture picture-01.png has changed": _touch,
    "The caption of picture-02.png has changed": lambda folder: (folder / "picture-02.txt").write_text(
        "a cat"
    ),
    "The picture picture-03.png has been removed": lambda folder: (folder / "picture-03.png").unlink(),
    "The picture new.png has been added": lambda folder: Image.new("RGB", (64, 64)).save(folder / "new.png"),
}


@pytest.mark.slow
@pytest.mark.parametrize("said", CHANGES)
def test_other_pictures_are_refused_by_name(make_config: ConfigMaker, tmp_path: Path, said: str) -> None:
    data = make_pictures(tmp_path / "data")
    config = make_config("paused", data=data)
    paused_at(config, 2)
    CHANGES[said](data)
    with pytest.raises(DatasetError, match=said) as caught:
        train(config, resume_from=state_folder_of(config))
    assert "since the state of step 2 was saved" in caught.value.message
    assert "new run" in caught.value.hint


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"placement": "elsewhere"}, "The bucket or crop of a.png has changed"),
        ({"options": "10 times"}, "The repeats or other options of a.png have changed"),
    ],
)
def test_pictures_used_in_another_way_are_refused(changed: dict, said: str) -> None:
    facts = {"file": "a.png", "content": "1", "caption": "a", "placement": "(1, 1)", "options": ""}
    other = {**facts, "file": "b.png"}
    check_pictures([facts, other], [facts, other], 2)
    with pytest.raises(DatasetError, match=said):
        check_pictures([facts, other], [{**facts, **changed}, other], 2)
    with pytest.raises(DatasetError, match="order"):
        check_pictures([facts, other], [other, facts], 2)


def test_what_is_said_of_a_placement_is_none_of_it() -> None:
    """States of former versions said something else, or nothing."""
    plain = Placement(bucket=(64, 64), resized=(64, 70), aspect_error=0.1)
    facts = {"file": "a.png", "content": "1", "caption": "a", "placement": repr(plain), "options": ""}
    for note in ("cut by 6 px", "the picture's edge is cut", 'a "word"'):
        noted = {**facts, "placement": repr(replace(plain, note=note))}
        check_pictures([noted], [facts], 2)
        check_pictures([facts], [noted], 2)
    moved = {**facts, "placement": repr(replace(plain, bucket=(64, 72), note="x"))}
    with pytest.raises(DatasetError, match="bucket or crop"):
        check_pictures([facts], [moved], 2)


@pytest.mark.slow
def test_the_same_pictures_in_another_folder_are_the_same(make_config: ConfigMaker, tmp_path: Path) -> None:
    data = make_pictures(tmp_path / "data")
    config = make_config("paused", data=data)
    paused_at(config, 2)
    moved = data.rename(tmp_path / "moved")
    assert (
        train(config.with_values({"train_data_dir": str(moved)}), resume_from=state_folder_of(config)).steps
        == 4
    )


@pytest.mark.slow
def test_another_base_is_refused(make_config: ConfigMaker, tiny_base: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    config = make_config("paused", base=base)
    paused_at(config, 2)
    shutil.rmtree(base)
    make_tiny_base(base, seed=9)
    with pytest.raises(ModelFileError, match="base model has changed since the state of step 2"):
        train(config, resume_from=state_folder_of(config))


def _rotated(folder: Path) -> None:
    apply_edits(folder, [RotatePicture("picture-00.png", 180)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_rotated, "The regularisation picture picture-00.png has changed since"),
        (lambda folder: (folder / "picture-00.txt").write_text("other"), "The caption of picture-00.png has"),
        (
            lambda folder: (folder / "picture-01.png").unlink(),
            "The regularisation picture picture-01.png has",
        ),
        (lambda folder: None, ""),
    ],
)
def test_regularisation_pictures_are_compared_as_well(
    tmp_path: Path, settings: Settings, change: Callable[[Path], object], said: str
) -> None:
    """They come from a folder of their own, whose content no version of the set's edits tells."""
    make_pictures(tmp_path / "set" / "1_dog").joinpath("picture-00.png").rename(
        tmp_path / "set/1_dog/mine.png"
    )
    make_pictures(tmp_path / "others")
    data = DatasetGroup(train_data_dir=str(tmp_path / "set"), reg_data_dir=str(tmp_path / "others"))

    def facts() -> tuple[dict[str, str], ...]:
        placement = Placement(bucket=(64, 64), resized=(64, 64), aspect_error=0)
        found = [one for one in read_folder(data).pictures if one.is_reg]
        return picture_facts([PlacedPicture(index=0, picture=one, placement=placement) for one in found])

    before = facts()
    change(tmp_path / "others")
    if not said:
        check_pictures(before, facts(), 3)
        return
    with pytest.raises(DatasetError, match=said):
        check_pictures(before, facts(), 3)


def test_an_edited_picture_is_told_by_its_original_and_its_edits(tmp_path: Path, settings: Settings) -> None:
    def facts() -> tuple[dict[str, str], ...]:
        found = read_folder(DatasetGroup(train_data_dir=str(folder))).pictures[0]
        placement = Placement(bucket=(64, 64), resized=(64, 64), aspect_error=0)
        return picture_facts([PlacedPicture(index=0, picture=found, placement=placement)])

    folder, name = make_pictures(tmp_path / "set"), "picture-00.png"
    apply_edits(folder, [FlipPicture(name)])
    before = facts()
    [rendered] = settings.edited.rglob("*.png")
    with Image.open(rendered) as image:
        image.save(rendered, compress_level=9)  # as another release of Pillow or zlib writes it
    check_pictures(before, facts(), 3)
    apply_edits(folder, [RotatePicture(name, 180)])
    with pytest.raises(DatasetError, match="has changed since"):
        check_pictures(before, facts(), 3)
