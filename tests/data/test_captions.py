from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.captions import (
    CaptionText,
    caption_for_use,
    has_word,
    read_caption,
    tag_frequency,
    with_trigger,
)
from lora_studio.errors import DatasetError


def data(**changes: object) -> DatasetGroup:
    return DatasetGroup.model_validate({"train_data_dir": "x", **changes})


def test_txt_goes_before_caption_and_an_extension_restricts(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    assert read_caption(picture) == CaptionText(text="")
    (tmp_path / "a.caption").write_text("from caption")
    assert read_caption(picture).text == "from caption"
    (tmp_path / "a.txt").write_text("from txt")
    assert read_caption(picture).text == "from txt"
    assert read_caption(picture, ".caption").text == "from caption"
    assert read_caption(picture, "caption").text == "from caption"
    assert read_caption(picture, ".tags").text == ""


def test_the_first_line_with_text_counts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n  a dog \n\na cat\n")
    assert read_caption(tmp_path / "a.png") == CaptionText(text="a dog", more_lines=True)
    (tmp_path / "a.txt").write_text("\n \n")
    assert read_caption(tmp_path / "a.png") == CaptionText(text="")


def test_a_byte_order_mark_is_no_part_of_the_caption(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfein H\xc3\xbcndchen")
    assert read_caption(tmp_path / "a.png").text == "ein Hündchen"


@pytest.mark.parametrize("content", [b"ein H\xfcndchen", b"\xff\xfea\x00"])
def test_other_encodings_are_refused_by_file_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dog.txt").write_bytes(content)
    with pytest.raises(DatasetError, match=r"dog\.txt is not UTF-8") as caught:
        read_caption(tmp_path / "dog.png")
    assert caught.value.path == str(tmp_path / "dog.txt")


@pytest.mark.parametrize(
    ("caption", "trigger", "wanted"),
    [
        ("a dog", "zwx", "zwx, a dog"),
        ("", "zwx", "zwx"),
        ("a ZWX dog", "zwx", "a ZWX dog"),
        ("zwxy dog", "zwx", "zwx, zwxy dog"),
        ("azwx", "zwx", "zwx, azwx"),
        ("the c++ logo", "c++", "the c++ logo"),
        ("a (zwx:1.2)", "zwx", "a (zwx:1.2)"),
        ("a dog", "", "a dog"),
        ("a dog", "  ", "a dog"),
        ("my red cat here", "red cat", "my red cat here"),
    ],
)
def test_the_trigger_word_goes_in_front_unless_it_is_there(caption: str, trigger: str, wanted: str) -> None:
    assert with_trigger(caption, trigger) == wanted


def test_a_word_is_not_part_of_another() -> None:
    assert has_word("ein Ärger", "Ärger")
    assert not has_word("Verärgert", "ärger")


def test_without_options_the_caption_is_used_as_it_is() -> None:
    assert caption_for_use("b,a ,  c", data(keep_tokens=1), 3) == "b,a ,  c"


def test_shuffling_keeps_the_first_parts_and_all_words() -> None:
    settings = data(shuffle_caption=True, keep_tokens=2)
    found = {caption_for_use("t, u, a, b,c", settings, seed) for seed in range(60)}
    assert len(found) == 6
    assert all(caption.startswith("t, u, ") for caption in found)
    assert {tuple(sorted(caption.split(", "))) for caption in found} == {("a", "b", "c", "t", "u")}


def test_a_seed_decides_what_a_use_sees() -> None:
    settings = data(shuffle_caption=True, caption_dropout_rate=0.5)
    once = [caption_for_use("a, b, c, d", settings, seed) for seed in range(20)]
    assert once == [caption_for_use("a, b, c, d", settings, seed) for seed in range(20)]


def test_dropout_empties_about_its_share() -> None:
    found = [caption_for_use("a", data(caption_dropout_rate=0.25), seed) for seed in range(2000)]
    assert found.count("") == pytest.approx(500, abs=60)
    assert "" not in [caption_for_use("a", data(), seed) for seed in range(100)]


def test_tags_are_counted_once_a_picture_by_folder() -> None:
    found = tag_frequency([("10_dog", "Dog, sitting ,"), ("10_dog", "dog"), ("1_cat", "cat")])
    assert found == {"10_dog": {"dog": 2, "sitting": 1}, "1_cat": {"cat": 1}}
