"""Two pages that show a set of pictures: each click says which state its page showed."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lora_studio.errors import ConfigError, DatasetError
from lora_studio.studio import Studio
from lora_studio.ui.upload import picture_set
from lora_studio.ui.upload.picture_actions import SetActions
from lora_studio.ui.upload.picture_set import Intake, SetView, edited, received, shown, without_pictures
from tests.support.api_caller import write_picture


def clicked(html: str, **facts: Any) -> SimpleNamespace:
    """A click on a page with this HTML."""
    found = re.search(r'data-after="([^"]+)"', html)
    assert found
    return SimpleNamespace(after=found[1], **facts)


def test_what_was_decided_on_an_older_state_is_refused(studio: Studio) -> None:
    colours = {"a.png": "teal", "b.png": "brown"}
    files = [str(write_picture(studio.settings.uploads / name, colour)) for name, colour in colours.items()]
    dataset, pictures, *_ = received(studio, Intake(files=files), "", SetView())
    record = studio.datasets.get(dataset)
    turn = clicked(pictures, edit="rotate", file="a.png", degrees=90)
    edited(studio, record, turn)
    crop = {"edit": "crop", "file": "a.png", "left": 0, "top": 0, "right": 40, "bottom": 60}
    for click in (clicked(pictures, **crop), turn):
        with pytest.raises(DatasetError, match=r"a\.png was edited elsewhere"):
            edited(studio, record, click)
    with pytest.raises(DatasetError, match=r"a\.png was edited elsewhere"):
        without_pictures(studio, dataset, clicked(pictures, file="a.png"), SetView())
    *_, edits = shown(studio, record)
    studio.datasets.set_caption(dataset, "b.png", "a fox")
    with pytest.raises(DatasetError, match="The pictures were edited elsewhere"):
        edited(studio, record, clicked(edits, edit="undo"))
    *_, edits = shown(studio, record)
    edited(studio, record, clicked(edits, edit="undo"))
    assert len(studio.datasets.edits(dataset).line()) == 1
    without_pictures(studio, dataset, clicked(pictures, file="b.png"), SetView())
    assert studio.datasets.get(dataset).images == 1


def test_a_stale_page_goes_to_no_version_and_takes_no_name(studio: Studio, tmp_path: Path) -> None:
    record = studio.datasets.create("x", [write_picture(tmp_path / "a.png", "teal")])
    studio.datasets.set_caption(record.id, "a.png", "a fox")
    stale = shown(studio, record)[3]
    edited(studio, record, clicked(stale, edit="name", version="fox"))
    studio.datasets.undo_edit(record.id)
    studio.datasets.set_caption(record.id, "a.png", "a wolf")
    for edit in ("go_to", "name"):
        with pytest.raises(DatasetError, match="The pictures were edited elsewhere"):
            edited(studio, record, clicked(stale, edit=edit, version="fox"))
    seen = shown(studio, record)[3]
    with pytest.raises(DatasetError, match="There is a version 'fox' already"):
        edited(studio, record, clicked(seen, edit="name", version="fox"))
    edited(studio, record, clicked(seen, edit="go_to", version="fox"))
    [wolf] = re.findall(r'data-version="([^"]+)"[^>]*>Unnamed, ', shown(studio, record)[3])
    edited(studio, record, clicked(shown(studio, record)[3], edit="go_to", version=wolf))
    assert studio.datasets.captions(record.id) == {"a.png": "a wolf"}


def test_a_letter_changed_in_a_long_caption_changes_that_letter(studio: Studio, tmp_path: Path) -> None:
    lines = "a fox, " + "x" * 3_000 + "\na wolf"
    (tmp_path / "a.txt").write_text(lines, "utf-8")
    record = studio.datasets.create("x", [write_picture(tmp_path / "a.png", "teal"), tmp_path / "a.txt"])
    click: Any = SimpleNamespace(file="a.png", text=lines.replace("wolf", "bear"))
    SetActions(studio=studio).caption(record.id, click)
    assert studio.datasets.captions(record.id) == {"a.png": lines.replace("wolf", "bear")}


def test_those_that_are_selected_go_and_come_back_at_once(studio: Studio) -> None:
    names = [f"{number}.png" for number in range(4)]
    colours = ("teal", "brown", "pink", "olive")
    files = [
        str(write_picture(studio.settings.uploads / name, colour))
        for name, colour in zip(names, colours, strict=True)
    ]
    dataset, pictures, *_ = received(studio, Intake(files=files), "", SetView())
    click = clicked(pictures, files=["1.png", "3.png", "1.png"], file=None)
    _, html, _, edits = without_pictures(studio, dataset, click, SetView())
    assert "2 pictures were removed." in edits
    assert re.findall(r'data-action="pick" data-file="([^"]+)"', html) == ["0.png", "2.png"]
    assert len(studio.datasets.edits(dataset).line()) == 1
    for wrong in ([], ["0.png", "2.png"], ["../0.png"], [None], [["0.png"]], ["0.png", "gone.png"]):
        with pytest.raises(DatasetError):
            without_pictures(studio, dataset, clicked(html, files=wrong), SetView())
    studio.datasets.undo_edit(dataset)
    assert studio.datasets.get(dataset).images == 4


def test_a_version_is_kept_and_gone_back_to(studio: Studio) -> None:
    files = [str(write_picture(studio.settings.uploads / name, "teal")) for name in ("a.png", "b.png")]
    dataset, *_ = received(studio, Intake(files=files), "", SetView())
    record = studio.datasets.get(dataset)
    edited(studio, record, SimpleNamespace(edit="rotate", file="a.png", degrees=90))
    edited(studio, record, SimpleNamespace(edit="name", version="turned"))
    edited(studio, record, SimpleNamespace(edit="flip", file="b.png"))
    for version, count in (("turned", 1), ("originals", 0), ("turned", 1)):
        edited(studio, record, SimpleNamespace(edit="go_to", version=version))
        assert len(studio.datasets.edits(dataset).line()) == count
    for change in ("name", "go_to"):
        for wrong in ("", None, "x" * 61, "gone" if change == "go_to" else "originals"):
            with pytest.raises((DatasetError, ConfigError)):
                edited(studio, record, SimpleNamespace(edit=change, version=wrong))


def test_a_page_holds_so_many_pictures_at_once_and_all_can_be_reached(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_set, "MOST_SHOWN", 4)
    monkeypatch.setattr(picture_set, "FIRST_SHOWN", 2)
    names = [f"{number}.png" for number in range(7)]
    files = [str(write_picture(studio.settings.uploads / name, "teal")) for name in names]
    dataset, *_ = received(studio, Intake(files=files), "", SetView(limit=2))

    def page(limit: int) -> tuple[list[str], dict[str, str]]:
        """The pictures on a page, and the limits that its buttons ask for."""
        html = shown(studio, studio.datasets.get(dataset), SetView(limit=limit))[1]
        asked = re.findall(r'data-action="expand" data-limit="(\d+)" data-key="([a-z]+)"', html)
        listed = re.findall(r'data-action="delete" data-file="([^"]+)"', html)
        return listed, {key: number for number, key in asked}

    assert page(2) == (names[:2], {"more": "4", "last": "7"})
    assert page(4) == (names[:4], {"more": "6", "last": "7"})
    assert page(6) == (names[2:6], {"earlier": "4", "more": "8"})
    assert page(8) == page(10**9) == (names[3:], {"earlier": "5"})
    html = shown(studio, studio.datasets.get(dataset), SetView(limit=6))[1]
    assert "2 come before these." in html
    assert "1 more are in the set." in html
