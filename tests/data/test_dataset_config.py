from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.pixels.picture_pixels import upright_size
from lora_studio.data.training_set.folders import PictureFolder, read_folder
from lora_studio.errors import ConfigError, DatasetError
from tests.support.tiny import make_pictures


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def read(path: Path, content: str, **changes: object) -> PictureFolder:
    path.write_text(content, encoding="utf-8")
    return read_folder(DatasetGroup.model_validate({"dataset_config": str(path), **changes}))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    touch(tmp_path / "dogs", "a.png", "b.png")
    touch(tmp_path / "cats", "c.png")
    return tmp_path / "sets.toml"


SEVERAL = """
[general]
shuffle_caption = true
keep_tokens = 1
batch_size = 3

[[datasets]]
resolution = 256
keep_tokens = 2

    [[datasets.subsets]]
    image_dir = "dogs"
    num_repeats = 4
    class_tokens = "sks dog"
    keep_tokens = 3

    [[datasets.subsets]]
    image_dir = "cats"
    is_reg = true
    class_tokens = "cat"

[[datasets]]
resolution = [512, 768]
batch_size = 1
enable_bucket = false
validation_split = 0.5

    [[datasets.subsets]]
    image_dir = "cats"
    flip_aug = true
"""


def test_options_are_looked_up_from_the_inside_out(config: Path) -> None:
    found = read(
        config, SEVERAL, trigger_word="zwx", keep_tokens=9, caption_prefix="p", prior_loss_weight=0.5
    )
    assert [
        (p.path.name, p.caption, p.repeats, p.dataset, p.subset, p.is_reg, p.weight) for p in found.pictures
    ] == [
        ("a.png", "zwx, sks dog", 4, 0, 0, False, 1.0),
        ("b.png", "zwx, sks dog", 4, 0, 0, False, 1.0),
        ("c.png", "cat", 1, 0, 1, True, 0.5),
        ("c.png", "zwx", 1, 1, 2, False, 1.0),
    ]
    settings = [found.pictures[place].settings for place in (0, 2, 3)]
    assert [s.keep_tokens for s in settings if s] == [3, 2, 1]
    assert [s.shuffle_caption for s in settings if s] == [True] * 3
    assert [s.caption_prefix for s in settings if s] == ["p"] * 3
    assert [s.flip_aug for s in settings if s] == [False, False, True]
    first, second = found.datasets
    assert (first.resolution, first.resolution_height, first.train_batch_size) == (256, None, 3)
    assert (second.resolution, second.resolution_height, second.train_batch_size) == (512, 768, 1)
    assert (first.enable_bucket, second.enable_bucket, second.validation_split) == (True, False, 0.5)
    assert found.notes == ()


def test_json_is_the_same(tmp_path: Path, config: Path) -> None:
    import tomllib

    as_json = read(tmp_path / "sets.json", json.dumps(tomllib.loads(SEVERAL)))
    assert [replaced.caption for replaced in as_json.pictures] == [
        picture.caption for picture in read(config, SEVERAL).pictures
    ]


def test_the_usual_folders_are_ignored_and_it_is_said(config: Path, tmp_path: Path) -> None:
    found = read(config, SEVERAL, reg_data_dir="elsewhere", in_json="x.json", train_data_dir="gone")
    assert len(found.pictures) == 4
    assert found.notes == (
        "reg_data_dir is ignored: dataset_config names the pictures.",
        "in_json is ignored: dataset_config names the pictures.",
    )


ONE = '[[datasets]]\n{dataset}\n[[datasets.subsets]]\nimage_dir = "dogs"\n{subset}\n'


@pytest.mark.parametrize(
    ("content", "said", "hint"),
    [
        (
            ONE.format(dataset="", subset="num_repeat = 1"),
            "no option 'num_repeat'",
            "Did you mean num_repeats?",
        ),
        (
            ONE.format(dataset="resolutoin = 1", subset=""),
            "no option 'resolutoin'",
            "Did you mean resolution?",
        ),
        ("[generall]\n", "no option 'generall'", "Did you mean general?"),
        ("[general]\nkeep_token = 1", "[general]: there is no option 'keep_token'", "keep_tokens?"),
        (ONE.format(dataset="", subset="batch_size = 1"), "batch_size doesn't belong here", "a dataset"),
        ("[general]\nimage_dir = 'x'", "image_dir doesn't belong here", "a subset"),
        (ONE.format(dataset="resolution = 16", subset=""), "resolution: a whole number from 32", ""),
        (ONE.format(dataset="", subset="keep_tokens = 'x'"), "keep_tokens: a whole number from", ""),
        (ONE.format(dataset="", subset="caption_dropout_rate = 2"), "caption_dropout_rate: ", ""),
        (ONE.format(dataset="", subset="is_reg = 'yes'"), "is_reg should be true or false", ""),
        (ONE.format(dataset="batch_size = 0", subset=""), "batch_size: a whole number from 1", ""),
        ("[general]\n", "at least one table [[datasets]]", ""),
        ("[[datasets]]\n", "at least one table [[datasets.subsets]]", ""),
        ("[[datasets]]\n[[datasets.subsets]]\n", "image_dir is missing", ""),
        ("datasets = 3", "at least one table [[datasets]]", ""),
        ("general = 3", "written as [general]", ""),
        ("[[", "is not TOML", ""),
        (ONE.format(dataset="network_multiplier = 2", subset=""), "network_multiplier can only be 1", ""),
        (
            ONE.format(dataset="", subset="custom_attributes = {diff_output_preservation = true}"),
            "diff_output_preservation is not built",
            "Leave it out",
        ),
    ],
)
def test_what_is_wrong_is_told_with_file_and_table(config: Path, content: str, said: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(config, content)
    assert said in caught.value.message
    assert caught.value.message.startswith("sets.toml")
    assert hint in caught.value.hint
    assert caught.value.field == "dataset_config"


def test_the_table_is_numbered_where_there_are_several(config: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"sets\.toml, \[\[datasets\]\] 2, \[\[datasets\.subsets\]\]: there is no"
    ):
        read(config, SEVERAL.replace("flip_aug", "flip_au"))


def test_options_without_effect_here_are_taken(config: Path) -> None:
    found = read(
        config, ONE.format(dataset="cache_info = true\nnetwork_multiplier = 1.0", subset="class_tokens = 'd'")
    )
    assert found.notes == ("sets.toml, [[datasets]]: cache_info is ignored: pictures are read anew.",)


def test_subsets_of_no_repeats_and_named_twice_are_left_out(config: Path) -> None:
    none = '[[datasets.subsets]]\nimage_dir = "cats"\nnum_repeats = 0\n'
    more = f'{none}[[datasets.subsets]]\nimage_dir = "dogs"\n'
    found = read(config, ONE.format(dataset="", subset="") + more)
    assert [picture.path.name for picture in found.pictures] == ["a.png", "b.png"]
    assert "subsets]] 2 is left out: its num_repeats is 0" in found.notes[0]
    assert "subsets]] 3 is left out: dogs is in the dataset already" in found.notes[1]


def test_a_captions_file_names_pictures(config: Path, tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text(json.dumps({"a": {"caption": "one\ntwo"}}))
    content = ONE.format(
        dataset="", subset='metadata_file = "meta.json"\nenable_wildcard = true\nnum_repeats = 2'
    )
    found = read(config, content)
    assert [(p.path.name, p.caption, p.repeats, p.folder) for p in found.pictures] == [
        ("a.png", "one\ntwo", 2, "meta.json")
    ]


def test_masks_and_faces(config: Path, tmp_path: Path) -> None:
    touch(tmp_path / "masks", "a.png", "b.png")
    found = read(config, ONE.format(dataset="", subset='conditioning_data_dir = "masks"'), masked_loss=True)
    assert [picture.mask and picture.mask.parent.name for picture in found.pictures] == ["masks", "masks"]
    faces = ONE.format(
        dataset="enable_bucket = false", subset="face_crop_aug_range = [2.0, 4.0]\nalpha_mask = true"
    )
    settings = read(config, faces).pictures[0].settings
    assert settings
    assert (settings.face_crop_aug_range, settings.alpha_mask) == ("2.0,4.0", True)


def test_what_is_not_there_is_told(config: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="There is no folder"):
        read(config, ONE.format(dataset="", subset="").replace("dogs", "gone"))
    with pytest.raises(ConfigError, match="There is no file"):
        read_folder(DatasetGroup(dataset_config=str(tmp_path / "gone.toml")))  # type: ignore[call-arg]
    touch(tmp_path / "empty")
    with pytest.raises(DatasetError, match="no pictures to train on"):
        read(config, ONE.format(dataset="", subset="").replace("dogs", "empty"))


def test_only_regularisation_pictures_are_not_enough(config: Path) -> None:
    with pytest.raises(DatasetError, match="no pictures to train on"):
        read(config, ONE.format(dataset="", subset="is_reg = true"))


def test_the_example_in_the_documentation_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text("utf-8")
    touch(tmp_path / "pictures" / "dog", "a.png")
    touch(tmp_path / "pictures" / "other dogs", "b.png")
    monkeypatch.chdir(tmp_path)
    found = read(tmp_path / "sets.toml", page.split("```toml\n")[1].split("```")[0])
    assert [(picture.caption, picture.is_reg) for picture in found.pictures] == [
        ("sks dog", False),
        ("dog", True),
    ]


def test_several_resolutions_of_one_folder(tmp_path: Path) -> None:
    """As sd-scripts has it since 0.10.2: a dataset passes over pictures that another one shows as large."""
    folder = make_pictures(tmp_path / "dogs")
    areas = {path.name: math.prod(upright_size(path)) for path in folder.glob("*.*") if path.suffix != ".txt"}
    middle = sorted(areas.values())[1]
    side = math.isqrt(middle)
    large = f"resolution = 96\nskip_image_resolution = [{side}, {middle // side}]"
    subset = "caption_extension = '.txt'"
    content = "".join(ONE.format(dataset=dataset, subset=subset) for dataset in ("resolution = 64", large))
    found = read(tmp_path / "sets.toml", content)
    assert [data.resolution for data in found.datasets] == [64, 96]
    assert {p.path.name for p in found.pictures if p.dataset == 0} == set(areas)
    kept = {name for name, area in areas.items() if area > side * (middle // side)}
    assert {p.path.name for p in found.pictures if p.dataset == 1} == kept
    assert len(kept) < len(areas)
    assert any("skip_image_resolution" in note for note in found.notes)


@pytest.mark.parametrize(
    "line",
    [
        f"num_repeats = {'9' * 5000}",
        f"num_repeats = {'9' * 4000}",
        f"keep_tokens = {'[' * 5000}",
        f"class_tokens = '{'a' * 100_000}'",
        f"{'a' * 100_000} = 1",
        "skip_image_resolution = 'wide'",
        "caption_dropout_rate = nan",
    ],
    ids=lambda line: line[:20],
)
def test_endless_values_are_one_sentence(config: Path, line: str) -> None:
    dataset = line if line.startswith("skip") else ""
    with pytest.raises(ConfigError) as caught:
        read(config, ONE.format(dataset=dataset, subset="" if dataset else line))
    assert caught.value.field == "dataset_config"
    assert len(str(caught.value)) < 4000
