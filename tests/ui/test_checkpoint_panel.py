"""The board on the page: what it shows, and what a click on it does."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, Visitor, acting
from lora_studio.lora.checkpoint_report import CheckpointReport, CheckpointRow, read_report, write_report
from lora_studio.lora.checkpoint_vote import read_vote
from lora_studio.lora.checkpoints import chosen_step
from lora_studio.store.people.ownership import Owners
from lora_studio.studio import Studio
from lora_studio.ui.gallery.lora_sections import sections_of
from lora_studio.ui.train import checkpoint_panel as page
from tests.support.html import parse

BOARD = CheckpointReport(
    prompts=("a zwx", "a <zwx> at sea"),
    base=("previews/base-0.png", "previews/base-1.png"),
    rows=(
        CheckpointRow(step=50, pictures=("previews/step-000050-0.png", ""), likeness=0.7, leak=0.1),
        CheckpointRow(step=100, pictures=("previews/step-000100-0.png", ""), likeness=0.9, leak=0.8),
    ),
    recommended=50,
    reason="Step 50 is recommended: it is <fine>.",
)


def write_lora(file: Path, step: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": torch.full((2, 8), float(step)),
        "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": torch.ones(8, 2),
    }
    save_file(tensors, file, {"ss_steps": str(step), "ss_network_dim": "2"})


@pytest.fixture
def folder(studio: Studio) -> Path:
    """A LoRA of the library at step 100 with a checkpoint of step 50."""
    folder = studio.settings.loras / "disc"
    write_lora(folder / "disc.safetensors", 100)
    write_lora(folder / "checkpoints" / "disc-step00000050.safetensors", 50)
    (folder / "previews").mkdir()
    for name in ("base-0", "base-1", "step-000050-0", "step-000100-0"):
        Image.new("RGB", (8, 8), "red").save(folder / "previews" / f"{name}.png")
    (folder / "training.json").write_text(json.dumps({"title": "Disc"}))
    write_report(folder, BOARD)
    studio.gallery.scan()
    return folder


def test_it_shows_pictures_step_and_verdict_and_the_numbers_on_request(studio: Studio, folder: Path) -> None:
    shown = page.board_of(studio, "disc")
    assert "Step 50 is recommended: it is &lt;fine&gt;." in shown
    assert re.findall(r"<h3>([^<]+)<", shown)[:3] == ["The base alone", "Step 50", "Step 100"]
    assert re.findall(r'class="verdict">([^<]+)<', shown) == [
        "Very like your pictures. Leaves other pictures alone.",
        "Very like your pictures. Changes other pictures a lot.",
    ]
    alts = re.findall(r'alt="([^"]*)"', shown)
    assert alts[:3] == ["Base model alone: a zwx", "Base model alone: a &lt;zwx&gt; at sea", "Step 50: a zwx"]
    assert all(alts)
    assert re.findall(r'<th scope="col">([^<]+)<', shown) == ["step", "like yours", "changes other pictures"]
    assert re.findall(r"<td>([^<]+)<", shown) == ["very like yours", "10 %", "very like yours", "80 %"]
    assert 'aria-label="Use the checkpoint of step 50"' in shown
    assert shown.count("data-action") == 1
    assert "in use" in shown
    assert "Vote without" not in shown, "not all pictures are there"


def test_a_click_puts_the_checkpoint_in_place_and_undo_brings_it_back(studio: Studio, folder: Path) -> None:
    use = handler(studio)
    before = studio.gallery.lora("disc").id
    shown = use(SimpleNamespace(slug="disc", step="50"))
    assert chosen_step(folder) == 50
    assert studio.gallery.lora("disc").steps == 50
    assert "Undo: back to step 100" in shown
    shown = use(SimpleNamespace(slug="disc", step="100"))
    assert (chosen_step(folder), studio.gallery.lora("disc").id) == (100, before)
    assert "Undo: back to step 50" in shown


@pytest.mark.parametrize(
    ("slug", "step", "said"),
    [
        ("../disc", "50", "no such LoRA"),
        ("disc", "7", "no checkpoint of step 7"),
        ("disc", "x", "number"),
        ("gone", "50", "no LoRA"),
        (None, None, "no such LoRA"),
    ],
)
def test_what_a_client_makes_up_changes_nothing(
    studio: Studio, folder: Path, slug: object, step: object, said: str
) -> None:
    with pytest.raises(gr.Error, match=said):
        handler(studio)(SimpleNamespace(slug=slug, step=step))
    assert chosen_step(folder) == 100


def test_a_lora_without_board_shows_none(studio: Studio, folder: Path) -> None:
    assert page.board_of(studio, "") == ""
    assert page.board_of(studio, "gone") == ""
    (folder / "training.json").write_text("{}")
    assert page.board_of(studio, "disc") == ""


def test_the_gallery_shows_the_board_of_the_chosen_lora(studio: Studio, folder: Path) -> None:
    assert "Which checkpoint?" in sections_of(studio, "disc", ["checkpoints"])


def test_columns_without_values_are_left_out(folder: Path) -> None:
    rows = (CheckpointRow(step=50), CheckpointRow(step=100, validation_loss=0.125))
    bare = replace(BOARD, rows=rows, base_loss=0.2)
    shown = page.view(page.ShownReport(report=bare, folder=folder, slug="disc"), page.Changed())
    assert "like yours" not in shown
    assert shown.count("not drawn") == 4
    assert "0.2000" in shown
    assert "0.1250" in shown
    assert "The lowest loss on the pictures held back." in shown


def test_what_nothing_was_drawn_of_stands_apart(folder: Path) -> None:
    """Where previews are seldom, a checkpoint with nothing to judge it by can be used but is no empty row."""
    write_lora(folder / "checkpoints" / "disc-step00000025.safetensors", 25)
    rows = (CheckpointRow(step=25), *BOARD.rows)
    report = page.ShownReport(report=replace(BOARD, rows=rows), folder=folder, slug="disc")
    shown = parse(page.view(report, page.Changed()))
    listed = [item.get("data-step") for item in shown.iterfind(".//ol/li")]
    assert listed == [None, "50", "100"]
    (bare,) = shown.iterfind(".//details[@class='bare']")
    text = " ".join("".join(bare.itertext()).split())
    assert text == "One more checkpoint, of which nothing was drawn Step 25 Use"
    assert [button.get("data-step") for button in bare.iter("button")] == ["25"]

    write_lora(folder / "disc.safetensors", 25)
    in_use = parse(page.view(report, page.Changed()))
    assert [item.get("data-step") for item in in_use.iterfind(".//ol/li")] == [None, "25", "50", "100"]


def test_of_equal_losses_none_is_called_the_lowest(folder: Path) -> None:
    rows = tuple(CheckpointRow(step=step, validation_loss=0.125) for step in (50, 100))
    shown = page.view(
        page.ShownReport(report=replace(BOARD, rows=rows), folder=folder, slug="disc"), page.Changed()
    )
    assert "0.1250" in shown
    assert "lowest loss" not in shown


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ({}, []),
        ({"likeness": 0.01}, ["Looks like the base's own."]),
        ({"likeness": 0.1, "adherence": 0.95}, ["A little like your pictures.", "Keeps to the prompt."]),
        ({"likeness": 0.2, "adherence": 0.3}, ["Like your pictures.", "Often misses the prompt."]),
        (
            {"adherence": 0.8, "leak": 0.4},
            ["Mostly keeps to the prompt.", "Changes other pictures a little."],
        ),
    ],
)
def test_a_verdict_is_in_words(measured: dict[str, float], said: list[str]) -> None:
    row = CheckpointRow(step=1, **measured)
    assert page.verdict(row, replace(BOARD, rows=(row,))) == said


@pytest.fixture
def voting(studio: Studio, folder: Path) -> Path:
    """The same with all pictures, so that there is something to choose from."""
    pictures = {step: tuple(f"previews/step-{step:06d}-{n}.png" for n in range(2)) for step in (50, 100)}
    for path in [path for paths in pictures.values() for path in paths]:
        Image.new("RGB", (8, 8), "blue").save(folder / path)
    rows = tuple(replace(row, pictures=pictures[row.step]) for row in BOARD.rows)
    write_report(folder, replace(BOARD, rows=rows))
    return folder


def test_who_votes_sees_no_step_and_is_told_after(studio: Studio, voting: Path) -> None:
    shown = page.board_of(studio, "disc")
    ballot_html = shown[shown.index('<details class="vote">') : shown.index('<details class="numbers">')]
    assert ballot_html.count('type="radio"') == 4
    assert not re.search(r">[^<]*(50|100)", ballot_html)
    assert re.findall(r'alt="([^"]*)"', ballot_html) == ["Picture A", "Picture B"] * 2
    vote = handler(studio, "submit")
    rows = page._report_of(studio, "disc").rows  # type: ignore[union-attr]
    picks = ",".join(str(row.steps.index(100)) for row in rows)
    first = mark_in(shown)
    shown = vote(SimpleNamespace(slug="disc", ballot=first, picks=picks))
    assert shown.count("Step 100, your choice") == 2
    assert "you picked step 100 most often: 2 of 2" in shown
    assert re.findall(r'<li class="recommended" data-step="(\d+)">', shown) == ["100"]
    again = page.board_of(studio, "disc")
    assert "you picked step 100 most often: 2 of 2" in again
    assert "Vote without" in again
    for stale in (first, "1", None, ["x"]):
        with pytest.warns(match="meanwhile"):
            assert vote(SimpleNamespace(slug="disc", ballot=stale, picks=picks)) == again
    with pytest.raises(gr.Error, match="No picture"):
        vote(SimpleNamespace(slug="disc", ballot=mark_in(again), picks=", 9,x,-1"))
    assert read_vote(voting).ballots == 1


def test_a_vote_on_checkpoints_that_are_others_by_now_is_not_counted(studio: Studio, voting: Path) -> None:
    before = mark_in(page.board_of(studio, "disc"))
    board = read_report(voting)
    assert board is not None
    write_report(voting, replace(board, rows=tuple(replace(row, leak=0.9) for row in board.rows)))
    with pytest.warns(match="meanwhile"):
        shown = handler(studio, "submit")(SimpleNamespace(slug="disc", ballot=before, picks="0,0"))
    assert read_vote(voting).ballots == 0
    assert mark_in(shown) != before


def test_nobody_votes_on_another_s_lora(studio: Studio, voting: Path) -> None:
    mark = mark_in(page.board_of(studio, "disc"))
    with acting(Visitor(name="eve", role=Role.CREATOR, kept=Owners(studio.database))):
        with pytest.raises(gr.Error):
            handler(studio, "submit")(SimpleNamespace(slug="disc", ballot=mark, picks="0,0"))
        Owners(studio.database).share(Kind.LORA, "disc", True)
        with pytest.raises(gr.Error, match="yours"):
            handler(studio, "submit")(SimpleNamespace(slug="disc", ballot=mark, picks="0,0"))
    assert read_vote(voting).ballots == 0


def mark_in(shown: str) -> str:
    """What a vote on a report that is shown is given on."""
    found = re.search(r'data-ballot="([0-9a-f]{16})"', shown)
    assert found
    return found[1]


def handler(studio: Studio, event: str = "click"):
    with gr.Blocks() as blocks:
        page.listen(page.render("board"), studio)
    return next(one.fn for one in blocks.fns.values() if one.targets[0][1] == event)
