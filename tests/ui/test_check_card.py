"""The card "Check the pictures": what it shows of a check, when it is sent, and what its buttons do."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Visitor, acting
from lora_studio.data.edits.picture_edits import FlipPicture, SetCaption
from lora_studio.errors import ConfigError, DatasetError, StoreError
from lora_studio.jobs.checking import dataset_checks
from lora_studio.jobs.checking.dataset_checks import CheckRequest
from lora_studio.studio import Studio
from lora_studio.ui.checks import check_card
from lora_studio.ui.checks.check_subject import CheckSubjects
from lora_studio.ui.languages.language import speaking
from lora_studio.ui.languages.translated_html import translated_html
from lora_studio.ui.languages.translation import present_table
from lora_studio.ui.upload.picture_actions import SetActions
from tests.support.drawn_scenes import scene
from tests.support.html import parse
from tests.support.waiting import PATIENCE

STRANGE = "<img src=x onerror=alert(1)>"
SKIP = gr.skip()


@pytest.fixture
def request_of(studio: Studio, tmp_path: Path) -> CheckRequest:
    for number in range(7):
        picture = scene(number, (96, 96))
        if number == 0:
            framed = Image.new("RGB", (96, 128))
            framed.paste(picture, (0, 16))
            picture = framed
        picture.save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(f"{STRANGE} {number}", "utf-8")
    record = studio.datasets.create("Seven", sorted(tmp_path.iterdir()))
    return CheckRequest(dataset_id=record.id, base="starter", trigger=STRANGE)


def painted(studio: Studio, request: CheckRequest) -> str:
    """The card once the check has ended."""
    studio.checks.wait(studio.checks.begin(request).id, PATIENCE)
    html = check_card.card_of(studio, request, "")
    assert isinstance(html, str)
    return html


def clicked(html: str, key: str) -> SimpleNamespace:
    """The click on a button of the card, as the browser tells it."""
    [button] = [part for part in parse(html).iter("button") if part.get("data-key") == key]
    return SimpleNamespace(**{name[5:]: value for name, value in button.items() if name.startswith("data-")})


def test_it_says_what_is_wrong_and_is_sent_once(studio: Studio, request_of: CheckRequest) -> None:
    html = painted(studio, request_of)
    assert "Border around the picture" in html
    assert "Crop the border off" in html
    assert html.count('class="before-after"') == 1
    assert "Two opposite sides" in html
    assert "<img src=x" not in html
    mark = html.split('data-mark="')[1].split('"')[0]
    assert check_card.card_of(studio, request_of, mark) == SKIP
    assert check_card.card_of(studio, None, "") == SKIP
    assert check_card.card_of(studio, None, mark) == ""


def test_all_of_it_is_told_in_other_languages(studio: Studio, request_of: CheckRequest) -> None:
    html = painted(studio, request_of)
    with speaking("de"):
        table = present_table()
        assert table
        german = translated_html(html, table)
    for words in ("Rand um das Bild", "Den Rand abschneiden", "Zwei gegenüberliegende Seiten", "ernst"):
        assert words in german
    for words in ("Border", "Crop", "opposite", "Report:"):
        assert words not in german


def test_a_check_that_can_not_be_begun_now_has_its_button(
    studio: Studio, request_of: CheckRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_checks, "MOST_ACTIVE", 0)
    html = check_card.card_of(studio, request_of, "")
    assert "Other sets of pictures are being checked." in html
    assert clicked(html, "begin").action == "retry"
    monkeypatch.undo()
    assert "Border around the picture" in painted(studio, request_of)


def test_what_the_disk_did_not_give_is_looked_at_again(
    studio: Studio, request_of: CheckRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Path.open

    def opened(path: Path, *args: Any, **named: Any) -> Any:
        if path.name == "3.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return found(path, *args, **named)

    monkeypatch.setattr(Path, "open", opened)
    html = painted(studio, request_of)
    assert "The disk didn't give all files." in html
    assert "Not given by the disk" in html
    assert clicked(html, "again").action == "retry"
    monkeypatch.undo()
    studio.checks.begin(request_of, anew=True)
    assert "The disk didn't give" not in painted(studio, request_of)


def test_a_fix_and_its_way_back(studio: Studio, request_of: CheckRequest) -> None:
    actions, html = SetActions(studio=studio), painted(studio, request_of)
    click: Any = clicked(html, "fix borders")
    dataset, pictures, _, edits = actions.apply_fixes(request_of.dataset_id, "starter", None, click)
    assert dataset == request_of.dataset_id
    assert "was cropped" in edits
    assert "Border around the picture" in edits
    assert "0.png" in pictures
    after = painted(studio, request_of)
    assert "Mended: Border around the picture." in after
    assert after.count("Border around the picture") == 1
    assert clicked(after, "undo").edit == "undo"
    with pytest.raises(DatasetError, match="edited elsewhere"):
        actions.apply_fixes(dataset, "starter", None, click)
    actions.edit(dataset, "starter", None, SimpleNamespace(edit="undo", after=None))  # type: ignore[arg-type]
    assert painted(studio, request_of) == html


def test_only_a_fix_is_called_one(studio: Studio, request_of: CheckRequest) -> None:
    studio.datasets.edit(request_of.dataset_id, [SetCaption("0.png", "a fox")], "captioned by Starter")
    assert "Mended" not in painted(studio, request_of)


def test_pictures_of_a_finding_come_first_until_another_order_is_asked_for(
    studio: Studio, request_of: CheckRequest
) -> None:
    actions, dataset = SetActions(studio=studio), request_of.dataset_id
    studio.datasets.edit(dataset, [FlipPicture("0.png"), SetCaption("5.png", "without")])
    show: Any = clicked(painted(studio, request_of), "show no_trigger")

    def names(html: str) -> list[str]:
        return re.findall(r'<img src="[^"]+" alt="([^"]+)" loading', html)

    _, html, _, _ = actions.expand(dataset, "starter", None, show)
    assert names(html)[:2] == ["5.png", "0.png"]
    assert "Those that were found come first." in html
    turn: Any = SimpleNamespace(edit="rotate", file="1.png", degrees=90, **facts_of(html))
    _, html, _, _ = actions.edit(dataset, "starter", None, turn)
    assert names(html)[0] == "5.png"
    back: Any = SimpleNamespace(order="", limit="120")
    _, html, _, _ = actions.expand(dataset, "starter", None, back)
    assert names(html)[:2] == ["0.png", "1.png"]
    unknown: Any = SimpleNamespace(order="no check", limit=None)
    _, html, _, _ = actions.expand(dataset, "starter", None, unknown)
    assert names(html)[:2] == ["0.png", "1.png"]


def facts_of(html: str) -> dict[str, str]:
    """What the pictures tell with each click."""
    tiles = next(part for part in parse(html).iter("div") if part.get("data-painted"))
    return {name: tiles.get(f"data-{name}", "") for name in ("after", "limit", "order")}


def test_the_report_is_a_link(studio: Studio, request_of: CheckRequest) -> None:
    html = painted(studio, request_of)
    link = check_card.report_link(studio, clicked(html, "html"))
    assert 'download="seven-report.html"' in link
    with pytest.raises(ConfigError, match="no report"):
        check_card.report_link(studio, SimpleNamespace(form="exe"))
    with pytest.raises(StoreError):
        check_card.mended(studio, SimpleNamespace(id="../x"))


def test_one_that_goes_on_has_a_bar_and_a_stop(studio: Studio, request_of: CheckRequest) -> None:
    with studio.turns.take("check"):
        check = studio.checks.begin(request_of)
        html = check_card.card_of(studio, request_of, "")
        assert 'role="progressbar"' in html
        studio.checks.stop(clicked(html, "stop").id)
        studio.checks.wait(check.id, PATIENCE)
    assert "not checked" in check_card.card_of(studio, request_of, "")


def test_those_who_only_look_have_no_card(studio: Studio, request_of: CheckRequest) -> None:
    with acting(Visitor(name="eve", role=Role.VIEWER)):
        assert check_card.card_of(studio, request_of, "") == SKIP


def test_what_is_checked_is_what_the_tab_describes(studio: Studio, request_of: CheckRequest) -> None:
    subjects, dataset = CheckSubjects(studio), request_of.dataset_id

    def asked(*typed: Any, name: str = "", trigger: str = "") -> CheckRequest:
        request = subjects.request([dataset, "style", name, trigger, "", *(typed or (None, None, None))])
        assert request
        return request

    assert (asked().kind, asked().trigger, asked().base) == ("style", "", "starter")
    assert asked(name="My lamp").trigger == studio.trainings.trigger_for(dataset, "My lamp")
    assert asked(name="My lamp", trigger=" zwx ").trigger == "zwx"
    assert asked("32", "x", None).values["resolution"] == 32
    assert subjects.request(["", *(None,) * 7]) is None
    with pytest.raises(StoreError):
        subjects.request(["../x", *(None,) * 7])
