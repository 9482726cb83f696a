"""Operations on many captions: what each does to tags and sentences, what it leaves alone, the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lora_studio.data.captioning.caption_change import CaptionFilter, planned_change, reason_of
from lora_studio.data.captioning.caption_operations import (
    AddWords,
    Form,
    RemoveWords,
    changed_captions,
    form_of,
    operation_of,
)
from lora_studio.data.captioning.caption_statistics import caption_tokens, word_counts
from lora_studio.data.checks.checked_set import CaptionLength
from lora_studio.data.edits.edit_log import FILE, EditLog
from lora_studio.data.edits.overlay import apply_edits, overlaid
from lora_studio.data.edits.picture_edits import LONGEST_CAPTION
from lora_studio.errors import ConfigError, DatasetError

TAGS = "zwx, 1girl, Blue Sofa, blue"
SENTENCE = "A zwx cat, on a blue sofa: blue as the sea."


def add(words: object, at: object = "end") -> dict[str, Any]:
    return {"operation": "add", "words": words, "at": at}


def remove(words: object) -> dict[str, Any]:
    return {"operation": "remove", "words": words}


def replace(words: object, by: object) -> dict[str, Any]:
    return {"operation": "replace", "words": words, "by": by}


def merge(words: object, by: object) -> dict[str, Any]:
    return {"operation": "merge", "words": words, "by": by}


def trigger_first(words: object) -> dict[str, Any]:
    return {"operation": "trigger_first", "words": words}


def order(by: object) -> dict[str, Any]:
    return {"operation": "order", "by": by}


OF_TAGS = [
    (add("outdoors"), TAGS, f"{TAGS}, outdoors"),
    (add("a, b", "front"), "c,d", "a, b, c,d"),
    (add("blue sofa"), TAGS, TAGS),
    (add("x"), "", "x"),
    (add("x"), "a\nb, x", "a, x\nb, x"),
    (remove("BLUE"), TAGS, "zwx, 1girl, Blue Sofa"),
    (remove("sofa"), TAGS, TAGS),
    (replace("blue", "navy, wet"), TAGS, "zwx, 1girl, Blue Sofa, navy, wet"),
    (replace("blue", "1girl"), TAGS, "zwx, 1girl, Blue Sofa"),
    (merge(["cat", "kitty"], "kitten"), "a, kitty, cat", "a, kitten"),
    (trigger_first("ZWX"), "1girl,  zwx,sofa", "ZWX, 1girl, sofa"),
    (trigger_first("zwx"), TAGS, TAGS),
    (order("alphabet"), "zwx, b, C, a", "zwx, a, b, C"),
    (order("alphabet"), "cat, {red dress, hat|green}, apple", "cat, apple, {red dress, hat|green}"),
    (order("alphabet"), "sks, z |||, b, a", "sks, z |||, b, a"),
    (order("alphabet"), "sks, :(, b, a", "sks, :(, a, b"),
    (trigger_first("sks"), "(red,blue:1.2), sks", "sks, (red,blue:1.2)"),
    (trigger_first("sks"), "z |||, b, a", "sks, z |||, b, a"),
    (trigger_first("sks"), "z, sks |||, b", "z, sks |||, b"),
    (remove("b"), "(a,b:1.2), b", "(a,b:1.2)"),
    (replace("cat", "cat, cat, dog"), "cat, dog, x", "cat, dog, x"),
    (add("x, y", "front"), "y, b", "x, y, b"),
    (add("x, X, y"), "b", "b, x, y"),
    (add("x"), ",", "x"),
    (add("x"), "one\n\ntwo", "one, x\n\ntwo, x"),
    (remove("zebra"), "one \r\n\r\ntwo", "one \r\n\r\ntwo"),
    (remove("one"), "one\n\n  a  cat", "a  cat"),
]
OF_SENTENCES = [
    (add("At night."), "A cat.", "A cat. At night."),
    (add("a blue"), SENTENCE, SENTENCE),
    (remove("blue"), SENTENCE, "A zwx cat, on a sofa: as the sea."),
    (remove("the sea"), SENTENCE, "A zwx cat, on a blue sofa: blue as."),
    (replace("Blue", "red"), SENTENCE, "A zwx cat, on a red sofa: red as the sea."),
    (replace("cat", r"\1 $&"), "a cat", r"a \1 $&"),
    (replace("ca", "x"), SENTENCE, SENTENCE),
    (merge(["cat", "sofa"], "thing"), "a sofa, a cat", "a thing, a thing"),
    (trigger_first("zwx"), SENTENCE, SENTENCE),
    (trigger_first("qqq"), "A cat.", "qqq, A cat."),
    (order("alphabet"), SENTENCE, SENTENCE),
    (remove("zebra"), "a  cat\n\n dog", "a  cat\n\n dog"),
    (remove("猫"), "黒猫がいる", "黒がいる"),
    (replace("แมว", "หมา"), "มีแมวดำ", "มีหมาดำ"),
    (trigger_first("zwx"), "黒zwx猫", "黒zwx猫"),
    (trigger_first("zwx"), "黒zwxa猫", "zwx, 黒zwxa猫"),
    (add("猫"), "黒猫", "黒猫"),
]


@pytest.mark.parametrize(
    ("form", "given", "before", "after"),
    [*(("tags", *row) for row in OF_TAGS), *(("sentences", *row) for row in OF_SENTENCES)],
)
def test_what_each_does(form: Form, given: dict[str, Any], before: str, after: str) -> None:
    changed = changed_captions(operation_of(given), {"a.png": before}, form)
    assert changed == ({} if after == before else {"a.png": after})


def test_tags_are_ordered_by_the_set() -> None:
    captions = {"a": "zwx, red, sofa, cat", "b": "zwx, cat, sofa", "c": "zwx, Cat", "d": "cat"}
    operation = operation_of(order("frequency"))
    assert changed_captions(operation, captions, "tags") == {"a": "zwx, cat, sofa, red"}


@pytest.mark.parametrize(
    "given",
    [
        *(None, 7, "add", {}, {"operation": "shout"}, {"operation": {"a": 1}}, {"operation": "add"}),
        *(add(" ,"), add("x" * 501), add("x", "top"), {**add("x"), "by": "y"}, replace("x", 7)),
        *(merge("x", "y"), merge([], "y"), merge(["x"], ""), merge(101 * ["x"], "y"), order(["alphabet"])),
    ],
)
def test_what_is_no_operation_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError):
        operation_of(given)


def test_a_caption_never_grows_beyond_what_is_kept() -> None:
    operation = operation_of(replace("a", "b" * 400))
    with pytest.raises(DatasetError, match=r"The caption of x\.png"):
        changed_captions(operation, {"x.png": " ".join("a" * (LONGEST_CAPTION // 200))}, "sentences")


def test_a_long_caption_is_in_the_way_of_no_other() -> None:
    captions = {"long.png": "cat, " + "w" * 2 * LONGEST_CAPTION, "b.png": "zebra, dog"}
    assert changed_captions(RemoveWords("zebra"), captions, "tags") == {"b.png": "dog"}
    with pytest.raises(DatasetError, match="without") as refused:
        changed_captions(AddWords("x"), captions, "tags")
    assert "long.png" in str(refused.value)
    change = planned_change(AddWords("x"), captions, CaptionFilter(without="cat", form="tags"))
    assert change.after == {"b.png": "zebra, dog, x"}


def test_the_form_is_told_from_the_captions() -> None:
    assert form_of([TAGS, "zwx, cat", "a dog"]) == "tags"
    assert form_of([SENTENCE, "A photo of a dog in the park", "dog"]) == "sentences"
    assert form_of([]) == form_of([""]) == "sentences"


def test_only_what_is_chosen_changes() -> None:
    captions = {"a": "zwx, cat", "b": "zwx, cat, sofa", "c": "zwx, catalogue", "d": ""}
    pet = operation_of(add("pet"))
    change = planned_change(pet, captions, CaptionFilter(only="Cat", without="sofa"))
    assert (change.form, change.looked_at) == ("tags", 1)
    assert (change.before, change.after) == ({"a": "zwx, cat"}, {"a": "zwx, cat, pet"})
    with pytest.raises(ConfigError, match="form"):
        planned_change(pet, captions, CaptionFilter(form="haiku"))


words = st.text(alphabet="abcß xyz-", min_size=1, max_size=9).map(str.strip).filter(bool)
captions = st.lists(words, max_size=6).map(lambda parts: ", ".join(parts).strip())
WORDS = "qqq ß"


@given(captions, st.sampled_from(["front", "end"]), st.sampled_from(["tags", "sentences"]))
def test_what_was_added_is_removed_again(caption: str, at: Any, form: Form) -> None:
    added = changed_captions(AddWords(WORDS, at), {"a": caption}, form)
    assert WORDS in added["a"]
    assert changed_captions(AddWords(WORDS, at), added, form) == {}
    removed = changed_captions(RemoveWords(WORDS), added, form)
    assert removed["a"].strip(" ,") == caption.strip(" ,")


operations = st.one_of(
    st.builds(add, words, st.sampled_from(["front", "end"])),
    st.builds(remove, words),
    st.builds(replace, words, words),
    st.builds(trigger_first, words),
    st.builds(order, st.sampled_from(["frequency", "alphabet"])),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("set")
    for number in range(4):
        Image.new("RGB", (40, 40)).save(made / f"{number}.png")
    return made


@given(
    st.lists(captions, min_size=1, max_size=4),
    st.lists(st.tuples(operations, st.sampled_from(["", "tags", "sentences"])), max_size=6),
)
def test_undo_restores_all(folder: Path, texts: list[str], changes: list[tuple[dict[str, Any], str]]) -> None:
    (folder / FILE).unlink(missing_ok=True)
    found = {folder / f"{number}.png": text for number, text in enumerate(texts)}
    states = [overlaid(folder, folder).captions(found)]
    for asked, form in changes:
        operation = operation_of(asked)
        now = {path.name: text for path, text in states[-1].items()}
        change = planned_change(operation, now, CaptionFilter(form=form))
        if change.edits:
            apply_edits(folder, change.edits, reason_of(operation))
            states.append(overlaid(folder, folder).captions(found))
            assert {path.name: text for path, text in states[-1].items()} == {**now, **change.after}
    for state in reversed(states[:-1]):
        EditLog(folder).undo()
        assert overlaid(folder, folder).captions(found) == state
    assert states[0] == found


def test_tags_and_words_are_counted() -> None:
    captions = {"a": "zwx, cat, Cat", "b": "zwx, Cat, a red sofa", "c": "cat\nzwx"}
    assert word_counts(captions, "tags") == [("Cat", 3), ("zwx", 3), ("a red sofa", 1)]
    assert word_counts({"a": "A cat on the sofa", "b": "a cat"}, "sentences") == [("cat", 2), ("sofa", 1)]


def test_tokens_are_counted_and_what_is_cut_off_named() -> None:
    length = CaptionLength(limit=3, count=lambda text: len(text.split()))
    found = caption_tokens({"a": "one two", "b": "one two three, four five\nsix"}, length)
    assert [(one.picture, one.tokens, one.lost) for one in found] == [("b", 5, "four five"), ("a", 2, "")]
