"""A repair that takes minutes, on the page: it is seen again after a reload, and stops when asked."""

from __future__ import annotations

from pathlib import Path

import torch
from playwright.sync_api import expect
from safetensors.torch import save_file

from tests.support.page import OpenPage, add_lora, box, go_to

SIDE, LAYERS = 1536, 30
"""Whole differences, whose SVD takes some seconds each."""


def test_a_long_repair_is_found_again_and_stopped(open_page: OpenPage, tmp_path: Path) -> None:
    file = tmp_path / "Whole differences.safetensors"
    path = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_{}_attn1_to_q.diff"
    save_file({path.format(number): torch.randn(SIDE, SIDE).half() for number in range(LAYERS)}, file)
    page = open_page()
    add_lora(page, file)
    page.locator("#gallery-inspect > button").click()
    box(page, "gallery-repair-new_rank").fill("4")
    page.locator("#gallery-repair-go").click()
    card = page.locator("#gallery-repair-progress")
    expect(card.locator(".pill")).to_have_text("running")
    expect(card).to_contain_text("This takes about")

    page.reload(wait_until="domcontentloaded")
    go_to(page, "Gallery")
    expect(card.locator("h2")).to_have_text("Whole differences, repaired")
    expect(card.get_by_role("progressbar")).to_be_visible()
    card.get_by_role("button", name="Stop the repair Whole differences, repaired").click()
    expect(card.locator(".pill")).to_have_text("stopped")
    expect(card).to_contain_text("nothing of it is kept")
    expect(page.locator("#gallery-lora-grid button")).to_have_count(1)
