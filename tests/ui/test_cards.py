"""What the page says of pictures and LoRAs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lora_studio.data.edits.edit_log import ORIGINALS, EditEntry, EditHistory
from lora_studio.data.edits.picture_edits import Edit, FlipPicture, RemovePicture, SetCaption
from lora_studio.records import DatasetRecord, ImageRecord, LoraRecord
from lora_studio.ui.widgets import cards
from lora_studio.ui.widgets.html_templates import TEMPLATES, file_url, fill
from tests.support.html import NASTY, parse

LORA = LoraRecord(
    id="ab" * 32,
    slug="ink",
    title="Ink",
    path="/m/ink/ink.safetensors",
    family="F",
    base="starter",
    trigger_word="zwx",
    kind="style",
    network_dim=8,
    network_alpha=4.0,
    steps=200,
    size_bytes=474_000,
    created_at=1e9,
    previews=("/m/p1.png",),
)
IMAGE = ImageRecord(
    id="cd" * 32,
    path="/i/a b.png",
    thumbnail="/t/a.webp",
    prompt="a cat",
    seed=7,
    width=64,
    height=32,
    created_at=1e9,
    lora_slugs=("ink",),
)
DATASET = DatasetRecord(
    id="d1",
    name="Ink",
    path="/d/d1",
    images=2,
    captions=1,
    created_at=1e9,
    refused=("note.png is no picture.",),
    warnings=("a.png is small.",),
)
PICTURE = cards.DatasetPicture(name="a.png", thumbnail="/t/x.webp", caption="a fox")


def test_a_lora_s_facts_are_all_there() -> None:
    root = parse(cards.lora_details(LORA, Path("/m/ink/ink.safetensors")))
    facts = dict(
        zip([str(i.text) for i in root.iter("dt")], [str(i.text) for i in root.iter("dd")], strict=True)
    )
    expected = {
        "trigger word": "zwx",
        "kind": "style",
        "base": "starter",
        "steps": "200",
        "network_dim": "8",
        "network_alpha": "4",
        "size": "474 kB",
        "hash": "abababababab",
    }
    assert expected.items() <= facts.items()
    links = [link for link in root.iter("a") if link.get("download")]
    assert [(link.get("href"), link.get("download")) for link in links] == [
        ("gradio_api/file=/m/ink/ink.safetensors", "ink.safetensors")
    ]


def test_the_grids_mark_the_choice_and_say_when_nothing_is_found() -> None:
    root = parse(cards.lora_grid([LORA, replace(LORA, slug="two", thumbnail="/t/2.webp")], chosen="two"))
    assert [(b.get("data-slug"), b.get("aria-pressed")) for b in root.iter("button")] == [
        ("ink", "false"),
        ("two", "true"),
    ]
    assert "No LoRA is found by “fox”" in cards.lora_grid([], "", "fox ")
    assert "No LoRAs yet" in cards.lora_grid([], "")
    assert "No picture is found by “fox”" in cards.image_grid([], "", "fox")
    root = parse(cards.image_grid([IMAGE], chosen=IMAGE.id))
    assert [image.get("src") for image in root.iter("img")] == ["gradio_api/file=/t/a.webp"]


def test_each_refusal_and_warning_is_a_sentence_of_its_own() -> None:
    root = parse(cards.dataset_notices(DATASET))
    assert [item.text for item in root.iter("li")] == ["note.png is no picture.", "a.png is small."]
    assert cards.dataset_notices(replace(DATASET, refused=(), warnings=())) == ""
    assert cards.dataset_notices(None) == ""


def test_captions_can_be_edited_where_they_stand() -> None:
    root = parse(cards.dataset_pictures(DATASET, [PICTURE]))
    box = next(root.iter("textarea"))
    assert (box.get("data-file"), box.get("aria-label"), box.text) == ("a.png", "Caption of a.png", "a fox")
    assert "2 pictures, 1 with a caption" in "".join(root.itertext())


def edits_of(root: ElementTree.Element) -> list[str | None]:
    """What the buttons do."""
    return [button.get("data-edit") for button in root.iter("button")]


def test_versions_are_listed_with_the_one_that_holds() -> None:
    entry = EditEntry(id="x", after=ORIGINALS, time=0.0, edits=(FlipPicture("a.png"),))
    history = EditHistory(entries={"x": entry}, versions={"<b>": "x", "old": ORIGINALS}, head="x")
    listed = [one for one in parse(cards.dataset_edits(history)).iter("button") if one.get("data-version")]
    assert [one.text for one in listed] == ["As they came", "<b>", "old"]
    assert [one.get("aria-pressed") for one in listed] == ["false", "true", "false"]
    assert [one.get("tabindex") for one in listed] == ["0", "-1", "-1"]


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ([RemovePicture("a.png")], "“a.png” was removed."),
        ([FlipPicture("a.png"), FlipPicture("b.png")], "2 pictures were flipped."),
        ([SetCaption("a.png", "x")], "The caption of “a.png” was changed."),
        ([SetCaption("a.png", "x"), FlipPicture("a.png")], "2 edits were made."),
    ],
)
def test_the_last_edit_is_said_with_the_way_back(edits: list[Edit], words: str) -> None:
    entry = EditEntry(id="x", after=ORIGINALS, time=0.0, edits=tuple(edits), why="near duplicates")
    history = EditHistory(entries={"x": entry}, head="x")
    root = parse(cards.dataset_edits(history))
    assert words in " ".join("".join(root.itertext()).split())
    assert "near duplicates" in "".join(root.itertext())
    assert edits_of(root) == ["undo", "name", "go_to"]
    undone = parse(cards.dataset_edits(replace(history, head=ORIGINALS, undone=["x"])))
    assert f"Undone: {words}" in " ".join("".join(undone.itertext()).split())
    assert edits_of(undone) == ["redo", "name", "go_to"]
    assert cards.dataset_edits(EditHistory()).strip() == ""


def test_results_stand_alone_or_beside_the_base() -> None:
    alone = parse(cards.results([cards.Result(image=IMAGE)], "a cat\nSteps: 20"))
    assert len(list(alone.iter("img"))) == 1
    both = parse(cards.results([cards.Result(image=IMAGE, base=replace(IMAGE, path="/i/b.png"))], "x"))
    assert [image.get("alt") for image in both.iter("img")] == ["base: a cat, seed 7", "LoRA: a cat, seed 7"]
    assert [link.get("download") for link in both.iter("a") if link.get("download")] == ["seed-7.png"]
    (border,) = both.iter("input")
    assert (border.get("type"), border.get("value")) == ("range", "50")
    assert "seed 7" in (border.get("aria-label") or "")
    actions = [button.get("data-action") for button in both.iter("button")]
    assert actions == ["seed", "again", "vary", "redraw"]


def test_variations_of_one_seed_can_be_told_apart() -> None:
    varied = [replace(IMAGE, request={"variation_strength": 0.15, "variation_seed": seed}) for seed in (3, 4)]
    shown = parse(cards.results([cards.Result(image=image) for image in varied], ""))
    names = [picture.get("alt") for picture in shown.iter("img")]
    assert names == ["a cat, seed 7, variation 3", "a cat, seed 7, variation 4"]
    said = [button.get("aria-label") for button in shown.iter("button")]
    assert len(set(said)) == len(said)
    assert "2 · seed 7, variation 4" in "".join(shown.itertext())


def test_a_grid_shows_its_sheet_first() -> None:
    made = parse(cards.results([cards.Result(image=IMAGE)] * 2, "", sheet="/i/sheet.png", notes=["cut"]))
    assert next(made.iter("img")).get("alt") == "All pictures on one sheet, labelled"
    assert [item.text for item in made.iter("li")] == ["cut"]
    assert len(list(made.iter("details"))) == 1


def test_what_people_wrote_stays_text() -> None:
    lora = replace(
        LORA, title=NASTY, trigger_word=NASTY, kind=NASTY, base=NASTY, path=f"/m/{NASTY}.safetensors"
    )
    image = replace(IMAGE, prompt=NASTY)
    dataset = replace(DATASET, refused=(NASTY,), warnings=(NASTY,))
    pages = [
        cards.lora_grid([lora], ""),
        cards.lora_details(lora, Path(lora.path)),
        cards.lora_grid([], "", NASTY),
        cards.image_grid([image], ""),
        cards.image_details(image, NASTY),
        cards.image_grid([], "", NASTY),
        cards.results([cards.Result(image=image, base=image)], NASTY, NASTY, notes=[NASTY], sheet=NASTY),
        cards.prompts_used([NASTY]),
        cards.triggers([lora]),
        cards.recent([image]),
        cards.ideas([NASTY], [NASTY]),
        cards.dataset_notices(dataset),
        cards.deleted(NASTY),
        cards.dataset_pictures(dataset, [replace(PICTURE, name=NASTY, caption=NASTY)]),
    ]
    for html in pages:
        root = parse(html)
        texts = ["".join(root.itertext()), *(v for item in root.iter() for v in item.attrib.values())]
        assert any(NASTY.strip() in text for text in texts), html
        assert not [item for item in root.iter() if "onerror" in item.attrib or item.get("src") == "x"]


def test_paths_become_addresses_that_survive_any_name() -> None:
    assert file_url("/a b/ü#?%.png") == "gradio_api/file=/a%20b/%C3%BC%23%3F%25.png"


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.stem)
def test_every_picture_and_button_in_our_html_has_a_name(template: Path) -> None:
    text = template.read_text("utf-8")
    assert "|safe" not in text.replace(" ", "")
    for tag in text.split("<img")[1:]:
        assert " alt=" in tag.split(">")[0].replace("\n", " ")


def test_a_template_without_its_facts_is_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        fill("strip")
