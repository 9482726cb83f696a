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

from lora_studio.lora.checkpoint_report import CheckpointReport, CheckpointRow, write_report
from lora_studio.lora.checkpoints import chosen_step
from lora_studio.studio import Studio
from lora_studio.ui.gallery.gallery_tab import lora_chosen
from lora_studio.ui.train import checkpoint_panel as page

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


def test_it_shows_pictures_figures_and_the_choice(studio: Studio, folder: Path) -> None:
    shown = page.board_of(studio, "disc")
    assert "Step 50 is recommended: it is &lt;fine&gt;." in shown
    assert re.findall(r'<th scope="col"[^>]*>([^<]+)<', shown) == [
        *("step", "file", "a zwx", "a &lt;zwx&gt; at sea", "likeness", "leak")
    ]
    alts = re.findall(r'alt="([^"]*)"', shown)
    assert alts[:3] == ["Base model alone: a zwx", "Base model alone: a &lt;zwx&gt; at sea", "Step 50: a zwx"]
    assert all(alts)
    figures = re.findall(r'class="number" data-title="[^"]+">([^<]+)<', shown)
    assert figures == ["very like yours", "10 %", "very like yours", "80 %"]
    assert 'aria-label="Use the checkpoint of step 50"' in shown
    assert shown.count("data-action") == 1
    assert "in use" in shown


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
    assert "Which checkpoint?" in lora_chosen(studio, "disc")[-1]


def test_columns_without_values_are_left_out(folder: Path) -> None:
    bare = replace(
        BOARD, rows=(CheckpointRow(step=50), CheckpointRow(step=100, validation_loss=0.125)), base_loss=0.2
    )
    shown = page.view(bare, folder, "disc")
    assert "likeness" not in shown
    assert shown.count("not drawn") == 4
    assert "0.2000" in shown
    assert "0.1250" in shown


def handler(studio: Studio):
    with gr.Blocks() as blocks:
        page.listen(page.render("board"), studio)
    return next(iter(blocks.fns.values())).fn
