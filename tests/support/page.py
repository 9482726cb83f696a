"""What people do on the page, and what they see, in Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from playwright.sync_api import Locator, Page, expect
from safetensors.numpy import save_file

PATIENCE = 300_000
"""Milliseconds; a slow machine must not fail a test of something else."""


OpenPage = Callable[[], Page]


def tab(page: Page, name: str) -> Locator:
    return page.get_by_role("tab", name=name, exact=True)


def go_to(page: Page, name: str) -> None:
    tab(page, name).click()
    expect(tab(page, name)).to_have_attribute("aria-selected", "true")


def upload(page: Page, files: list[Path]) -> None:
    with page.expect_response(lambda response: "/upload" in response.url):
        page.locator("#upload-files input[type=file]").set_input_files(files)


def lora_file(path: Path, value: float) -> Path:
    """A small LoRA for Stable Diffusion 1.5, of this value everywhere."""
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    parts = {"lora_down.weight": (4, 768), "lora_up.weight": (320, 4)}
    save_file({f"{layer}.{part}": np.full(shape, value, np.float32) for part, shape in parts.items()}, path)
    return path


def add_lora(page: Page, file: Path) -> None:
    """Take a LoRA into the library, which shows it then."""
    go_to(page, "Gallery")
    with page.expect_file_chooser() as chooser:
        page.locator("#gallery-lora-add").click()
    chooser.value.set_files(file)
    expect(page.locator("#gallery-lora-details h2")).to_have_text(file.stem)


RESTORED = """() => {
  const loads = window.gradio_config.dependencies
    .filter((one) => one.backend_fn && one.targets.some(([, event]) => event === 'load')).length;
  const answered = performance.getEntriesByType('resource')
    .filter((one) => /gradio_api\\/run/.test(one.name) && one.responseEnd).length;
  return answered >= loads;
}"""
"""All events of opening the page have been answered: what it shows by itself is there a moment later."""
PAINTED = 500
"""Milliseconds from an answer to what it paints."""


def begin_anew(page: Page) -> None:
    """Leave the pictures of an earlier test, which a page shows by itself while they wait for a training."""
    page.wait_for_function(RESTORED)
    page.wait_for_timeout(PAINTED)
    remove = page.get_by_role("button", name="Remove all", exact=True)
    if remove.is_visible():
        remove.click()
    expect(page.locator("#picture-count")).to_have_count(0)


def open_settings(page: Page) -> None:
    """The drawer of Generate."""
    page.locator("#generate-settings > button").click()


def choose_mode(page: Page, name: str) -> None:
    """What Generate does: Draw, Redraw or Grid."""
    page.locator(f"#generate-mode label:has(input[value={name.lower()}])").click()
    expect(page.locator("#generate-mode label.selected")).to_have_text(name)


def box(page: Page, elem_id: str) -> Locator:
    """The field of a Textbox, of one line or more."""
    return page.locator(f"#{elem_id} textarea, #{elem_id} input")


def write(page: Page, elem_id: str, text: str) -> None:
    """Type into a field and leave it, as people do: Gradio takes the value over a moment later."""
    box(page, elem_id).fill(text)
    box(page, elem_id).press("Tab")


def fill_training(page: Page, *, kind: str, name: str, steps: int, previews_every: int = 0) -> None:
    """The questions of the Upload tab, a length in its fine-tuning, and there the steps between previews,
    unless they stay what they are: eight sets of previews take longer than few steps do."""
    page.locator("#upload-kind label", has_text=re.compile(kind)).click()
    write(page, "upload-name", name)
    if page.locator("#upload-pictures .tile img").count():  # the plan's own values come first
        expect(page.locator("#upload-plan")).to_contain_text(re.compile(r"\w"))
    set_up(page, "max_train_steps", str(steps))
    if previews_every:
        page.locator("#train-advanced-preview > button").click()
        write(page, "train-sample_every_n_steps", str(previews_every))
        write(page, "train-max_preview_share", "0")  # the same pictures on any machine


def set_up(page: Page, setting: str, value: str) -> None:
    """Type one of the settings that are in sight once the fine-tuning is unfolded."""
    field = box(page, f"train-{setting}")
    if not field.is_visible():
        page.locator("#upload-settings > button").click()
    write(page, f"train-{setting}", value)


DRAWN = """([selector, count]) => {
  const pictures = [...document.querySelectorAll(`${selector} img`)];
  const next = pictures.find((one) => !(one.complete && one.naturalWidth > 0 && one.getClientRects().length));
  if (next) next.scrollIntoView({block: 'nearest'});
  return pictures.length === count && !next && pictures.map((one) => one.alt);
}"""


def pictures_are_drawn(page: Page, selector: str, count: int) -> None:
    """So many pictures, all of them loaded and with pixels in them. They are looked at all at once: those
    of a generation that goes on are replaced by those of its end."""
    drawn = page.wait_for_function(DRAWN, arg=[selector, count], polling=100)
    assert all(drawn.json_value())


NAMELESS = """() => {
  const name = (element) => [
    element.getAttribute('aria-label'), element.title, element.innerText, element.placeholder,
    ...(element.getAttribute('aria-labelledby') || '').split(' ').filter(Boolean)
      .map((id) => document.getElementById(id)?.innerText),
    ...[...(element.labels || [])].map((label) => label.innerText || label.textContent),
    ...[...element.querySelectorAll('[aria-label], img[alt], svg title')]
      .map((inner) => inner.getAttribute('aria-label') || inner.alt || inner.textContent),
  ].some((text) => text && text.trim());
  const seen = (element) => element.offsetParent !== null && element.type !== 'hidden';
  const kinds = 'button, input, textarea, select, a[href], [role=progressbar]';
  const controls = [...document.querySelectorAll(kinds)];
  const ours = [...document.querySelectorAll('.panel img')];
  return {
    controls: controls.filter(seen).length,
    nameless: controls.filter((c) => seen(c) && !name(c)).map((c) => c.outerHTML.slice(0, 160)),
    pictures: ours.filter((i) => !(i.alt.trim() || i.getAttribute('role') === 'presentation'))
      .map((i) => i.outerHTML.slice(0, 160)),
    headings: document.querySelectorAll('h1').length,
    wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
}"""


def is_accessible(page: Page) -> None:
    """Every control and picture that is seen has a name, there is one h1, and nothing sticks out sideways."""
    found = page.evaluate(NAMELESS)
    assert found["controls"] > 5
    assert found["nameless"] == []
    assert found["pictures"] == []
    assert found["headings"] == 1
    assert found["wider"] <= 0
