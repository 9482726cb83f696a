"""Uploads with a dataset config of sd-scripts: taken in as it says, and what doesn't fit is named."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lora_studio.data.ingestion import upload_claims, uploaded_config
from lora_studio.data.ingestion.given_files import find_files
from lora_studio.data.ingestion.ingest import Ingested, ingest
from lora_studio.data.pixels.masks import ENDING
from lora_studio.data.training_set.folders import Picture
from lora_studio.data.training_set.run_subsets import SUBSETS, options_of_set
from lora_studio.errors import DatasetError
from lora_studio.parsing.toml_text import read_toml
from tests.support.properties import examples
from tests.support.uploaded_sets import Files, laid_out, png, trained_on, zipped


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    return tmp_path / "set"


def facts(pictures: list[Picture]) -> list[tuple[str, str, int, bool]]:
    """Names as they came: two of one name differ by a number in a set."""
    return [(one.path.name.replace("-2", ""), one.caption, one.repeats, one.is_reg) for one in pictures]


EVERYTHING = """
[general]
flip_aug = true
keep_tokens = 2
caption_extension = ".caption"

[[datasets]]
resolution = [256, 320]
batch_size = 4

  [[datasets.subsets]]
  image_dir = 'C:\\Users\\me\\training\\Dogs'
  num_repeats = 10
  class_tokens = "sks dog"
  conditioning_data_dir = "/home/me/training/white"

  [[datasets.subsets]]
  image_dir = "cats"
  shuffle_caption = true
  caption_extension = "tags"
  caption_prefix = "a drawing,"

  [[datasets.subsets]]
  image_dir = "../elsewhere/others"
  is_reg = true
  num_repeats = 3
  class_tokens = "dog"
"""
PICTURES: Files = {
    "mine/config.toml": EVERYTHING,
    **{"mine/dogs/a.png": None, "mine/dogs/a.caption": "a dog", "mine/dogs/a.txt": "not this"},
    **{"mine/dogs/b.png": None, "mine/white/a.png": png("white", "L")},
    **{"mine/cats/a.png": None, "mine/cats/a.tags": "cat, sofa", "mine/cats/b.png": None},
    **{"mine/others/r.png": None, "mine/unused/u.png": None, "mine/loose.png": None},
}
TAKEN = [
    *(("a.png", "a dog", 10, False), ("b.png", "sks dog", 10, False)),
    *(("a.png", "cat, sofa", 1, False), ("b.png", "", 1, False)),
    ("r.png", "dog", 3, True),
]
OPTIONS = {
    **{"resolution": 256, "resolution_height": 320, "train_batch_size": 4},
    **{"flip_aug": True, "keep_tokens": 2},
}


@pytest.mark.parametrize("kind", ["ZIP", "folder"])
def test_a_set_is_taken_in_as_its_config_says(tmp_path: Path, into: Path, kind: str) -> None:
    if kind == "ZIP":
        made = ingest([zipped(tmp_path / "x.zip", PICTURES)], into)
    else:
        made = ingest(find_files(laid_out(tmp_path / "x", PICTURES) / "mine"), into)
    assert facts(trained_on(into)) == TAKEN
    assert options_of_set(into) == OPTIONS
    assert (made.images, made.captions) == (4, 2)
    own = [one.settings for one in trained_on(into)]
    assert [one.shuffle_caption for one in own] == [False, False, True, True, False]
    assert own[2].caption_prefix == "a drawing,"
    masks = [one.mask is not None for one in trained_on(into, masked_loss=True)]
    assert masks == [True, False, False, False, False]
    said = "\n".join((*made.refused, *made.warnings))
    assert "a.txt) not used: captions end in .caption there." in said
    for name in ("unused/u.png", "loose.png"):
        assert any(name in one and "in no subset of" in one for one in made.refused)
    assert "1 picture for regularisation" in said
    assert "batch_size, flip_aug, keep_tokens, resolution. What you set yourself goes first." in said
    assert "caption_prefix, shuffle_caption differ between the subsets of" in said


def test_loose_files_belong_to_the_only_subset_of_a_config(tmp_path: Path, into: Path) -> None:
    """A browser puts each file into a folder of its own."""
    config = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "/data/dogs"\nnum_repeats = 5\nflip_aug = true'
    laid_out(tmp_path, {"1/a.png": None, "2/a.txt": "a dog", "3/d.toml": config, "4/b.png": None})
    ingest([tmp_path / name for name in ("1/a.png", "2/a.txt", "3/d.toml", "4/b.png")], into)
    assert facts(trained_on(into)) == [("a.png", "a dog", 5, False), ("b.png", "", 5, False)]
    assert options_of_set(into) == {"flip_aug": True}


def test_several_resolutions_of_one_folder(tmp_path: Path, into: Path) -> None:
    config = """
    general = {enable_bucket = true}
    [[datasets]]
    resolution = 512
    subsets = [{image_dir = "dogs", num_repeats = 2}]
    [[datasets]]
    resolution = 768
    skip_image_resolution = 30
    subsets = [{image_dir = "dogs"}]
    """
    ingest([zipped(tmp_path / "x.zip", {"d.toml": config, "dogs/a.png": None})], into)
    found = trained_on(into)
    assert [(one.dataset, one.settings.resolution, one.repeats) for one in found] == [
        (0, 512, 2),
        (1, 768, 1),
    ]
    assert len(list(into.rglob("*.png"))) == 1
    assert options_of_set(into) == {"enable_bucket": True}
    assert read_toml((into / SUBSETS).read_text("utf-8"), "")["datasets"][1]["skip_image_resolution"] == 30


def test_captions_of_a_metadata_file_are_the_only_ones(tmp_path: Path, into: Path) -> None:
    config = """
    [[datasets]]
    [[datasets.subsets]]
    image_dir = "/somewhere/dogs"
    metadata_file = "/somewhere/meta.json"
    """
    entries = {
        "/somewhere/dogs/a.png": {"caption": "a dog", "tags": "red"},
        "b": {"tags": "blue"},
        "gone": {"tags": "x"},
    }
    files: Files = {
        **{"meta.json": json.dumps(entries), "d.toml": config, "dogs/a.txt": "not this"},
        **dict.fromkeys(("dogs/a.png", "dogs/b.png", "dogs/c.png")),
    }
    made = ingest([zipped(tmp_path / "x.zip", files)], into)
    assert facts(trained_on(into)) == [("a.png", "a dog, red", 1, False), ("b.png", "blue", 1, False)]
    assert any("c.png) not named in meta.json: left out." in one for one in made.refused)
    assert any("a.txt) not used: the captions come from meta.json." in one for one in made.refused)


def test_transparency_becomes_the_mask_that_alpha_mask_makes_of_it(tmp_path: Path, into: Path) -> None:
    half = Image.new("RGBA", (40, 48), "red")
    half.putalpha(64)
    content = io.BytesIO()
    half.save(content, "PNG")
    config = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "dogs"\nalpha_mask = true'
    files: Files = {"d.toml": config, "dogs/a.png": content.getvalue(), "dogs/b.png": None}
    ingest([zipped(tmp_path / "x.zip", files)], into)
    masks = {one.path.name: one.mask for one in trained_on(into, masked_loss=True)}
    assert masks["b.png"] is None
    with Image.open(masks["a.png"]) as mask:
        assert (mask.mode, mask.getextrema()) == ("L", (64, 64))


def test_masks_find_the_pictures_of_their_own_subsets_only(tmp_path: Path, into: Path) -> None:
    config = """
    [[datasets]]
    [[datasets.subsets]]
    image_dir = "dogs"
    conditioning_data_dir = "white"
    [[datasets.subsets]]
    image_dir = "cats"
    """
    files: Files = {"d.toml": config, "dogs/a.png": None, "cats/b.png": None}
    made = ingest([zipped(tmp_path / "x.zip", {**files, "white/a.png": None, "white/b.png": None})], into)
    assert [path.name for path in into.rglob(f"*{ENDING}.png")] == [f"a{ENDING}.png"]
    assert any("white/b.png is the mask of no picture" in one for one in made.refused)


ALONE = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "dogs"\n'


def wrong_options(count: int) -> str:
    return "\n".join(f"option_{number} = 1" for number in range(count))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (f"{ALONE}num_repeat = 3", "num_repeat'. Did you mean num_repeats? It is left out."),
        (f'{ALONE}flip_aug = "maybe"', "[[datasets.subsets]]: flip_aug"),
        (f"{ALONE}resolution = 512", "resolution doesn't belong here. Put it into a dataset or [general]."),
        (f"[general]\nnetwork_multiplier = 2.0\n{ALONE}", "network_multiplier can only be 1 here"),
        (f"{ALONE}custom_attributes = {{diff_output_preservation = true}}", "is not built here"),
        (f"extra = 1\n{ALONE}", "there is no table 'extra'. It is left out."),
        (f'{ALONE}conditioning_data_dir = "/m/masks"', "conditioning_data_dir 'm/masks' is not among the"),
        (f'{ALONE}metadata_file = "m.json"', "metadata_file 'm.json' is not among the files."),
        (
            f'{ALONE}[[datasets.subsets]]\nimage_dir = "/me/cats"',
            "[[datasets.subsets]] 2 is left out: image_dir 'me/cats' is not among the files. Put it into",
        ),
        (f'{ALONE}[[datasets.subsets]]\nimage_dir = "dogs"', "the folder dogs is another subset already."),
        (f'{ALONE}[[datasets.subsets]]\nimage_dir = "x/twice"', "'x/twice' may be one/twice and two/twice."),
        (f'{ALONE}[[datasets.subsets]]\nimage_dir = "twice"\nnum_repeats = 0', "its num_repeats is 0."),
        (f"{ALONE}[[datasets.subsets]]\nnum_repeats = 2", "image_dir is missing."),
    ],
)
def test_what_does_not_fit_is_named_and_the_rest_used(
    tmp_path: Path, into: Path, config: str, sentence: str
) -> None:
    files: Files = {"d.toml": config, "dogs/a.png": None, "one/twice/b.png": None, "two/twice/c.png": None}
    made = ingest([zipped(tmp_path / "x.zip", files)], into)
    assert [sentence in one for one in made.refused].count(True) == 1
    assert [name for name, *_ in facts(trained_on(into))] == ["a.png"]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "/secret"',
            "its pictures are not among the files.",
        ),
        ("[[datasets]]", "there should be at least one table [[datasets.subsets]]"),
        ("datasets = 3", "there should be at least one table [[datasets]]"),
        (f"{ALONE}x = {'[' * 5000}", "d.toml is not TOML"),
        (f"{ALONE}# {'x' * 600_000}", "is larger than a dataset config can be."),
        (b"\xff\xfe\x00d", "d.toml is not UTF-8 text."),
        ("[[datasets]]\n" + '[[datasets.subsets]]\nimage_dir = "dogs"\n' * 300, "has more than 200 subsets."),
        (f"{'.'.join(['a'] * 2000)} = 1\n{ALONE}", "d.toml is not TOML that can be read."),
        (ALONE + wrong_options(1001), "d.toml is wrong in more than 1000 places."),
        ("[[datasets]]\n" + "[[datasets.subsets]]\nnum_repeats = 0\n" * 1001, "in more than 1000 places."),
    ],
)
def test_a_config_that_can_not_be_used_leaves_the_pictures(
    tmp_path: Path, into: Path, config: str | bytes, sentence: str
) -> None:
    made = ingest([zipped(tmp_path / "x.zip", {"d.toml": config, "3_dogs/a.png": None})], into)
    assert any(sentence in one and one.endswith("It is not used.") for one in made.refused) or any(
        sentence in one for one in made.refused
    )
    assert [path.relative_to(into).as_posix() for path in into.rglob("*.*")] == ["3_dogs/a.png"]


def test_a_thousand_faults_are_not_a_thousand_sentences(
    tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_for = list[str]()

    def looking(option: str, *_: Any, **__: Any) -> list[str]:
        looked_for.append(option)
        return []

    monkeypatch.setattr("difflib.get_close_matches", looking)
    files: Files = {"d.toml": ALONE + wrong_options(1000), "dogs/a.png": None}
    made = ingest([zipped(tmp_path / "x.zip", files)], into)
    assert len(made.refused) == uploaded_config.MOST_REMARKS + 1
    assert made.refused[-1].endswith("988 more like these.")
    assert len(looked_for) == uploaded_config.MOST_REMARKS


def test_nor_are_a_hundred_folders_that_may_be_two(tmp_path: Path, into: Path) -> None:
    subsets = "".join(f"[[datasets.subsets]]\nimage_dir = 'x{number}/twice'\n" for number in range(100))
    pictures: Files = dict.fromkeys(("dogs/a.png", "1/Twice/b.png", "2/twice/c.png"))
    made = ingest([zipped(tmp_path / "x.zip", {"d.toml": ALONE + subsets, **pictures})], into)
    told = [one for one in made.refused if "may be 1/Twice and 2/twice" in one]
    assert len(told) == uploaded_config.MOST_REMARKS
    assert any(one.endswith("88 more like these.") for one in made.refused)


def test_an_argument_toml_and_a_second_config_are_no_subsets(tmp_path: Path, into: Path) -> None:
    files: Files = {"arguments.toml": 'output_name = "x"', "d.toml": ALONE, "dogs/a.png": None}
    made = ingest([zipped(tmp_path / "x.zip", {**files, "old/e.toml": ALONE})], into)
    assert any("old/e.toml is not used: x.zip: d.toml says what" in one for one in made.refused)
    assert facts(trained_on(into)) == [("a.png", "", 1, False)]


@pytest.mark.parametrize("named", ["{outside}", "../outside", "link", "dogs/../../outside"])
def test_nothing_outside_of_the_folder_is_read(tmp_path: Path, into: Path, named: str) -> None:
    outside = laid_out(tmp_path / "outside", {"secret.png": None})
    config = f'{ALONE}[[datasets.subsets]]\nimage_dir = "{named.format(outside=outside)}"'
    given = laid_out(tmp_path / "given", {"d.toml": config, "dogs/a.png": None})
    (given / "link").symlink_to(outside)
    (given / "dogs" / "b.png").symlink_to(outside / "secret.png")
    made = ingest(find_files(given), into)
    assert facts(trained_on(into)) == [("a.png", "", 1, False)]
    assert "1 file (b.png) a link out of the folder: left out." in made.refused
    assert any("[[datasets.subsets]] 2 is left out: image_dir" in one for one in made.refused)


def test_the_config_of_a_set_names_folders_of_the_set_only(tmp_path: Path, into: Path) -> None:
    outside = laid_out(tmp_path / "outside", {"secret.png": None})
    for named in (str(outside), "../outside"):
        (into / SUBSETS).write_text(f'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "{named}"', "utf-8")
        with pytest.raises(Exception, match="is outside of the folder"):
            trained_on(into)


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lora_studio.data.ingestion.given_files.MOST_ENTRIES", 3)
    laid_out(tmp_path, {"d.toml": ALONE, "dogs/a.png": None, "dogs/b.png": None})
    with pytest.raises(DatasetError, match="more files than are read at once"):
        find_files(tmp_path)


def test_few_json_files_are_looked_into(tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[str]()
    real = uploaded_config.read_uploaded

    def counting(shown: str, content: bytes) -> uploaded_config.UploadedConfig | None:
        read.append(shown)
        return real(shown, content)

    monkeypatch.setattr(upload_claims, "read_uploaded", counting)
    files = {f"{number}.json": '{"a.png": "a dog"}' for number in range(40)}
    made: Ingested = ingest([zipped(tmp_path / "x.zip", {**files, "a.png": None})], into)
    assert len(read) == upload_claims.MOST_LOOKED_AT
    assert made.captions == 1


def test_a_config_may_be_json(tmp_path: Path, into: Path) -> None:
    config = {"datasets": [{"subsets": [{"image_dir": "dogs", "num_repeats": 4}]}]}
    ingest([zipped(tmp_path / "x.zip", {"d.json": json.dumps(config), "dogs/a.png": None})], into)
    assert facts(trained_on(into)) == [("a.png", "", 4, False)]


@examples(60)
@given(data=st.data())
def test_any_damaged_config_is_used_or_named(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Pieces of the config are taken out, doubled or swapped, as a stranger's hand or a bad merge does it."""
    lines = EVERYTHING.split("\n")
    values = ('"\\u0000"', "-1", "1e400", "[[1]]", "{}", '"../../x"', "true", "9" * 20, f'"{"9" * 5000}"')
    for _ in range(data.draw(st.integers(1, 4))):
        place, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        change = data.draw(st.sampled_from(("drop", "double", "swap", "value")))
        if change == "drop" and len(lines) > 1:
            del lines[place]
        elif change == "double":
            lines.insert(other, lines[place])
        elif change == "swap":
            lines[place], lines[other] = lines[other], lines[place]
        elif "=" in lines[place]:
            lines[place] = f"{lines[place].partition('=')[0]}= {data.draw(st.sampled_from(values))}"
    into = tmp_path_factory.mktemp("damaged")
    (into / "set").mkdir()
    files = {**PICTURES, "mine/config.toml": "\n".join(lines)}
    made = ingest([zipped(into / "x.zip", files)], into / "set")
    assert made.images + sum(one.is_reg for one in trained_on(into / "set")) == len(
        {one.path for one in trained_on(into / "set")}
    )
    assert (into / "set" / SUBSETS).is_file() or any("config.toml" in one for one in made.refused)
