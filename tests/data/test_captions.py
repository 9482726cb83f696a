from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.config_groups import DatasetGroup
from lora_studio.data.captions import (
    CaptionText,
    caption_for_use,
    has_choice,
    has_word,
    plain_caption,
    read_caption,
    tag_frequency,
    with_trigger,
)
from lora_studio.errors import DatasetError


def data(**changes: object) -> DatasetGroup:
    return DatasetGroup.model_validate({"train_data_dir": "x", **changes})


def test_a_caption_that_is_none_is_named_and_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(20 << 30)
    with pytest.raises(DatasetError, match=r"a\.txt is longer than 64,000 bytes"):
        read_caption(tmp_path / "a.png")


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


def test_other_encodings_are_read_where_they_are_certain(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("ein Hündchen".encode("cp1252"))
    assert read_caption(tmp_path / "a.png") == CaptionText(
        text="ein Hündchen", preview="a.txt: “ein Hündchen” in Windows-1252"
    )
    (tmp_path / "a.txt").write_bytes("ein Hündchen".encode("utf-16"))
    assert read_caption(tmp_path / "a.png") == CaptionText(text="ein Hündchen")


@pytest.mark.parametrize("content", ["щенок".encode("cp1251"), "一只狗".encode("gb18030"), b"a\x00\x01\xfe"])
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


def test_a_face_in_the_name_is_no_part_of_the_captions_name(tmp_path: Path) -> None:
    (tmp_path / "me_at_sea.txt").write_text("a person")
    assert read_caption(tmp_path / "me_at_sea_120_80_40_44.png").text == "a person"
    assert read_caption(tmp_path / "me_at_sea_120_80_40.png").text == ""


def test_all_lines_are_read_for_wildcards(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n two\n")
    assert read_caption(tmp_path / "a.png", all_lines=True) == CaptionText(text="one\ntwo")
    assert with_trigger("one\nmy zwx", "zwx") == "zwx, one\nmy zwx"


def test_prefix_and_suffix() -> None:
    settings = data(caption_prefix="photo of", caption_suffix="at night")
    assert caption_for_use("a dog", settings, 1) == "photo of a dog at night"
    assert caption_for_use("", settings, 1) == "photo of at night"
    assert caption_for_use("a dog", data(caption_suffix="x"), 1) == "a dog x"


def test_every_nth_epoch_has_no_captions() -> None:
    settings = data(caption_dropout_every_n_epochs=3)
    found = [caption_for_use("a", settings, 1, epoch=epoch) for epoch in range(1, 8)]
    assert found == ["a", "a", "", "a", "a", "", "a"]


def test_wildcards_choose_and_braces_can_be_written() -> None:
    settings = data(enable_wildcard=True)
    found = {caption_for_use("a {red|blue} {dog|cat} {{x}}", settings, seed) for seed in range(60)}
    assert found == {f"a {colour} {animal} {{x}}" for colour in ("red", "blue") for animal in ("dog", "cat")}
    assert {caption_for_use("{a{{1}}|b}", settings, seed) for seed in range(20)} == {"a{1}", "b"}
    assert caption_for_use("a {red|blue}", data(), 1) == "a {red|blue}"


def test_one_line_of_several_is_chosen_with_wildcards_only() -> None:
    found = {
        caption_for_use("one\ntwo", data(enable_wildcard=True, caption_prefix="p"), s) for s in range(20)
    }
    assert found == {"p one", "p two"}
    assert caption_for_use("one\ntwo", data(), 3) == "one"


def test_what_stands_before_and_after_the_mark_stays() -> None:
    settings = data(shuffle_caption=True, keep_tokens=5, keep_tokens_separator="|||")
    found = {caption_for_use("t, u ||| a, b, c ||| z", settings, seed) for seed in range(60)}
    assert len(found) == 6
    assert all(caption.startswith("t, u, ") and caption.endswith(", z") for caption in found)
    without = {caption_for_use("t, u, a, b, c, d, e", settings, seed) for seed in range(20)}
    assert all(caption.startswith("t, u, a, b, c, ") for caption in without)
    assert caption_for_use("t ||| a", data(keep_tokens_separator="|||"), 1) == "t ||| a"


def test_separators() -> None:
    settings = data(caption_separator=";", secondary_separator="+", shuffle_caption=True)
    found = {caption_for_use("a; b+c", settings, seed) for seed in range(20)}
    assert found == {"a, b;c", "b;c, a"}


def test_tokens_warm_up_in_a_straight_line() -> None:
    settings = data(token_warmup_min=1, token_warmup_step=4, keep_tokens=1)
    found = [caption_for_use("t, a, b, c, d, e", settings, 0, step=step) for step in range(1, 7)]
    assert found == ["t, a", "t, a, b", "t, a, b, c", "t, a, b, c, d"] + ["t, a, b, c, d, e"] * 2
    share = data(token_warmup_step=0.5)
    assert caption_for_use("a, b, c", share, 0, step=1, max_train_steps=8) == "a"
    assert caption_for_use("a, b, c", share, 0, step=4, max_train_steps=8) == "a, b"
    assert caption_for_use("a, b, c", share, 0, step=5, max_train_steps=8) == "a, b, c"


def test_tags_drop_out_one_by_one_but_not_those_kept() -> None:
    settings = data(caption_tag_dropout_rate=0.5, keep_tokens=1)
    found = [caption_for_use("t, a, b", settings, seed) for seed in range(400)]
    assert all(caption.startswith("t") for caption in found)
    assert sum("a" in caption for caption in found) == pytest.approx(200, abs=40)
    assert {"t", "t, a", "t, b", "t, a, b"} == set(found)


def test_a_plain_caption_leaves_nothing_to_chance() -> None:
    settings = data(
        caption_prefix="p",
        caption_dropout_rate=1.0,
        caption_dropout_every_n_epochs=1,
        shuffle_caption=True,
        caption_tag_dropout_rate=1.0,
        token_warmup_step=9,
    )
    assert plain_caption("b, a", settings) == "p b, a"


@pytest.mark.parametrize(
    ("caption", "changes", "varies"),
    [
        ("a, b", {}, False),
        ("a, b", {"shuffle_caption": True}, True),
        ("a, b", {"token_warmup_step": 5}, True),
        ("a, b", {"caption_tag_dropout_rate": 0.1}, True),
        ("a, b", {"caption_dropout_rate": 0.1}, False),
        ("a, b", {"enable_wildcard": True}, False),
        ("{a|b}", {"enable_wildcard": True}, True),
        ("a\nb", {"enable_wildcard": True}, True),
    ],
)
def test_which_captions_can_be_known_before(caption: str, changes: dict, varies: bool) -> None:
    assert has_choice(caption, data(**changes)) is varies
