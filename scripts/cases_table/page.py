"""The page: each case goes into the upload that a person would choose, in a window of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from scripts.cases_table.expected import KEPT, REFUSED, USED, Answer

PATIENCE = 120_000
TOAST = "[data-testid=toast-text]"
SETTLED = 300
"""Milliseconds in which the rest of an answer is drawn."""


class ByPage:
    def __init__(self, browser: Browser, address: str) -> None:
        self._browser, self._address = browser, address
        self._upload: Page | None = None

    def pictures(self, path: Path) -> Answer:
        """All in one window: a new one takes up the last pictures that wait for their training."""
        if self._upload is None:
            self._upload = self._open("Upload")
        page = self._upload
        page.locator("#upload-files input[type=file]").set_input_files(path)
        count, failure = page.locator("#picture-count"), page.locator("#upload-notices .failure")
        expect(count.or_(failure).or_(page.locator(TOAST)).first).to_be_visible()
        page.wait_for_timeout(SETTLED)
        result = count.inner_text() if count.count() else ""
        sentences = _lines(page, "#upload-notices li", "#upload-notices .failure :is(h2, p)", TOAST)
        if count.is_visible():
            page.get_by_role("button", name="Remove all", exact=True).click()
        failure.evaluate_all("found => found.forEach((one) => one.remove())")  # stays until the next upload
        expect(count.or_(failure)).to_have_count(0)
        return Answer(outcome=USED if result else REFUSED, result=result, said=sentences)

    def lora(self, path: Path) -> Answer:
        with self._window("Gallery") as page:
            with page.expect_file_chooser() as chooser:
                page.locator("#gallery-lora-add").click()
            chooser.value.set_files(path)
            details = page.locator("#gallery-lora-details .facts")
            expect(details.or_(page.locator(TOAST)).first).to_be_visible()
            page.wait_for_timeout(SETTLED)
            if not details.count():
                return Answer(outcome=REFUSED, said=_lines(page, TOAST))
            facts = dict(
                zip(*(details.locator(part).all_inner_texts() for part in ("dt", "dd")), strict=True)
            )
            shown = [f"Made for {facts['made for']}."] if "made for" in facts else []
            shown += [facts["left out"]] if "left out" in facts else []
            title = page.locator("#gallery-lora-details h2").inner_text()
            return Answer(outcome=KEPT, result=f"“{title}”", said=(*shown, *_lines(page, TOAST)))

    def settings(self, path: Path) -> Answer:
        with self._window("Generate") as page:
            page.locator("#generate-settings > button").click()
            page.locator("#generate-recall-file input[type=file]").set_input_files(path)
            filled = page.locator("#generate-recalled .notices")
            expect(filled.or_(page.locator(TOAST)).first).to_be_visible()
            page.wait_for_timeout(SETTLED)
            if not filled.count():
                return Answer(outcome=REFUSED, said=_lines(page, TOAST))
            names = ("prompt", "seed", "num_inference_steps", "width", "height")
            prompt, seed, steps, width, height = (
                page.locator(f"#generate-{name} textarea, #generate-{name} input").first.input_value()
                for name in names
            )
            sentences = _lines(page, "#generate-recalled li", TOAST)
            return Answer(
                outcome=USED, result=settings_words(prompt, seed, steps, width, height), said=sentences
            )

    @contextmanager
    def _window(self, tab: str) -> Iterator[Page]:
        page = self._open(tab)
        yield page
        page.context.close()

    def _open(self, tab: str) -> Page:
        page = self._browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(self._address, wait_until="domcontentloaded")
        page.get_by_role("tab", name=tab, exact=True).click()
        return page


def settings_words(prompt: object, seed: object, steps: object, width: object, height: object) -> str:
    size = f"{width} × {height}" if width and height else ""
    parts = (f"“{prompt}”", seed and f"seed {seed}", steps and f"{steps} steps", size)
    return ", ".join(str(part) for part in parts if part)


def _lines(page: Page, *selectors: str) -> tuple[str, ...]:
    texts = [text for selector in selectors for text in page.locator(selector).all_inner_texts()]
    return tuple(" ".join(text.split()) for text in texts if text.strip())
