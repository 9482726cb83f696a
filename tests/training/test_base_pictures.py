"""The base's own previews are drawn once, and kept for the next training on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from lora_studio.config import TrainConfig
from lora_studio.events import Event, PhaseAdvanced, PreviewSaved, StepDone
from lora_studio.families.base_files.locate import find_base
from lora_studio.runtime import find_device
from lora_studio.settings import Settings
from lora_studio.training.evaluation.base_pictures import BasePictures, base_pictures
from lora_studio.training.model import load_engine
from tests.support.configs import ConfigMaker
from tests.support.runs import of, run
from tests.support.tiny import tiny_values

TWO_PROMPTS = {
    "sample_prompts": ("a disc", "a red disc"),
    "sample_steps": 2,
    "sample_every_n_steps": 1,
    "max_train_steps": 1,
    "checkpoint_board": False,
}


@pytest.fixture(scope="module")
def drawn_once(tiny_base: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training with TWO_PROMPTS keeps of the base's previews."""
    folder = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORA_STUDIO_HOME", str(folder / "home"))
        patch.setattr("torch.cuda.is_available", lambda: False)  # as in the tests
        patch.setattr("torch.backends.mps.is_available", lambda: False)
        run(TrainConfig.from_values(tiny_values(tiny_base, pictures, folder / "one", **TWO_PROMPTS)))
        return Settings.from_environment().cache


@pytest.fixture
def kept(drawn_once: Path) -> None:
    """As if that training had been here, with this base."""
    shutil.copytree(drawn_once, Settings.from_environment().cache)


def steps_before_the_first(events: list[Event]) -> int:
    """Denoising steps that were drawn before the first step of the training."""
    first = next(index for index, event in enumerate(events) if isinstance(event, StepDone))
    drawn = [event.done for event in of(PhaseAdvanced, events[:first]) if event.phase == "preview"]
    return max(drawn)


def pixels_of(*paths: str | Path) -> list[bytes]:
    found = []
    for path in paths:
        with Image.open(path) as picture:
            found.append(picture.tobytes())
    return found


def base_files(events: list[Event]) -> list[bytes]:
    return pixels_of(*sorted({event.base_path for event in of(PreviewSaved, events)}))


def kept_files() -> list[Path]:
    return sorted((Settings.from_environment().cache / "base-previews").iterdir())


def test_the_next_training_takes_the_pictures_of_the_first(make_config: ConfigMaker) -> None:
    _, first = run(make_config("one", **TWO_PROMPTS))
    _, second = run(make_config("two", **TWO_PROMPTS, learning_rate=0.01))
    assert (steps_before_the_first(first), steps_before_the_first(second)) == (4, 0)
    assert base_files(first) == base_files(second) != []
    previews = [[(event.step, event.prompt) for event in of(PreviewSaved, one)] for one in (first, second)]
    assert previews[0] == previews[1]


@pytest.mark.parametrize(
    ("change", "drawn"),
    [
        ({"sample_prompts": ("a disc", "a blue disc")}, 2),
        *(
            pytest.param(change, steps, marks=pytest.mark.slow)
            for change, steps in (
                ({"sample_prompts": ("a red disc", "a disc")}, 4),
                ({"sample_seed": 2}, 4),
                ({"sample_guidance": 2.0}, 4),
                ({"clip_skip": 2}, 4),
                ({"resolution": 32}, 4),
                ({"v_parameterization": True}, 4),
            )
        ),
        ({"sample_steps": 3}, 6),
        ({"network_dim": 2, "optimizer_type": "SGD", "max_train_steps": 2}, 0),
    ],
)
@pytest.mark.usefixtures("kept")
def test_only_what_was_not_drawn_yet_is_drawn(
    make_config: ConfigMaker, change: dict[str, object], drawn: int
) -> None:
    config = make_config("two", **{**TWO_PROMPTS, **change})
    _, partly = run(config)
    assert steps_before_the_first(partly) == drawn
    shutil.rmtree(Settings.from_environment().cache)
    shutil.rmtree(config.output.output_dir)
    _, fresh = run(config)
    assert base_files(partly) == base_files(fresh) != []


def test_another_base_of_the_same_place_is_drawn_anew(
    make_config: ConfigMaker, tiny_base: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    run(make_config("one", **TWO_PROMPTS, base=base))
    weights = next((base / "unet").glob("*.safetensors"))
    os.utime(weights, (1000, 1000))
    _, events = run(make_config("two", **TWO_PROMPTS, base=base))
    assert steps_before_the_first(events) == 4


@pytest.mark.parametrize(
    "damage",
    ["one bit", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cut off", "empty", "no picture"))],
)
@pytest.mark.usefixtures("kept")
def test_a_damaged_picture_is_drawn_anew(make_config: ConfigMaker, damage: str) -> None:
    one, other = kept_files()
    pictures = pixels_of(one, other)
    content = bytearray(one.read_bytes())
    content[-20] ^= 1
    changed = {"cut off": one.read_bytes()[:60], "empty": b"", "one bit": content, "no picture": b"GIF89a"}
    one.write_bytes(bytes(changed[damage]))
    _, second = run(make_config("two", **TWO_PROMPTS))
    assert steps_before_the_first(second) == 2
    assert sorted(base_files(second)) == sorted(pictures)
    assert kept_files() == [one, other]
    assert pixels_of(one, other) == pictures


def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    pictures = BasePictures(folder=tmp_path / "file", mark="")
    pictures.keep(Image.new("RGB", (8, 8)), "a disc", 1)
    assert pictures.find("a disc", 1) is None
    pictures.make_room()


def test_there_are_never_more_than_fit(tmp_path: Path) -> None:
    pictures = BasePictures(folder=tmp_path, mark="base")
    for seed in range(4):
        pictures.keep(Image.new("RGB", (8, 8)), "a disc", seed)
    for age, path in enumerate(sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)):
        os.utime(path, (1000 + age, 1000 + age))
    assert pictures.find("a disc", 0) is not None  # so that it is the latest used
    size = next(tmp_path.iterdir()).stat().st_size
    pictures.make_room(2 * size)
    assert [pictures.find("a disc", seed) is not None for seed in range(4)] == [True, False, False, True]


def test_a_base_with_merged_files_and_an_unknown_one_keep_nothing(
    make_config: ConfigMaker, tmp_path: Path
) -> None:
    run(make_config("one"))
    (file,) = (tmp_path / "lora" / "one").glob("*.safetensors")
    config = make_config("two", base_weights=(str(file),))
    engine = load_engine(
        config, find_base(config.model.pretrained_model_name_or_path), find_device(), torch.float32
    )
    assert base_pictures(engine, tmp_path / "kept") is None
