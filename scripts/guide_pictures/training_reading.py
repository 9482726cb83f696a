"""Pictures of how a training is read: python -m scripts.guide_pictures.training_reading [--out DIR]

Trains the alien example for 200 steps with two pictures held back and previews at each checkpoint, opens the
page on it, and photographs the loss chart and the checkpoint board. Needs Chromium and playwright.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, sync_playwright

from lora_studio.settings import CHECKOUT, Settings
from lora_studio.studio import open_studio
from lora_studio.training_request import StartTraining
from scripts.bench.startup import running_app, wait_for_page
from scripts.screenshots import ARGUMENTS, DOCUMENTED, PATIENCE, SETTLED, open_tab
from tests.support.chromium import HOW_TO_GET_IT, find_chromium

CHART, BOARD = "loss-chart.png", "checkpoint-board.png"
SETTINGS = {
    "seed": 42,
    "max_train_steps": 200,
    "save_every_n_steps": 40,
    "sample_every_n_steps": 40,
    "max_preview_share": 0,
    "validation_split": 0.2,
    "result_pictures": 0,
}
TRAINED_WITHIN = 3600.0
"""Seconds."""


def train(home: Path) -> None:
    """A training in this home. Exits where it ends otherwise than finished."""
    studio = open_studio(Settings(home=home, models=home / "models"))
    try:
        files = sorted((CHECKOUT / "examples" / "alien").iterdir())
        pictures = studio.datasets.create("alien", files)
        wanted = StartTraining(
            dataset_id=pictures.id, name="Alien", kind="character", trigger="zwx", overrides=SETTINGS
        )
        job = studio.jobs.wait(studio.trainings.start(wanted).id, timeout=TRAINED_WITHIN)
    finally:
        studio.close()
    if job.status != "finished":
        sys.exit(f"The training ended as {job.status}: {job.message}")


def take(part: Locator, path: Path) -> None:
    part.scroll_into_view_if_needed()
    part.evaluate("(one) => one.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
    part.page.wait_for_function("[...document.images].every((image) => image.complete)")
    part.page.wait_for_timeout(SETTLED)
    with Image.open(io.BytesIO(part.screenshot())) as picture:
        picture.convert("RGB").save(path, optimize=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DOCUMENTED)
    out = parser.parse_args().out
    chromium = find_chromium()
    if chromium is None:
        sys.exit(HOW_TO_GET_IT)
    with tempfile.TemporaryDirectory() as folder:
        train(Path(folder))
        with running_app(Path(folder)) as (process, address, _), sync_playwright() as playwright:
            wait_for_page(address, process)
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
            page.set_default_timeout(PATIENCE)
            page.goto(address, wait_until="domcontentloaded")
            open_tab(page, "Train")
            take(page.locator(".board").first, out / BOARD)
            open_tab(page, "Numbers and log")
            take(page.locator("#train-chart"), out / CHART)
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
