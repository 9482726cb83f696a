"""The guide's good and bad pictures: what stands beside them is what the checks say today."""

from __future__ import annotations

from PIL import Image

from scripts.guide_pictures.picture_examples import DOCS, PAGE, section, with_section


def test_the_guide_says_what_the_checks_say() -> None:
    page = PAGE.read_text("utf-8")
    text, good, bad = section()
    assert with_section(page, text) == page
    for name, sheet in (("good", good), ("bad", bad)):
        with Image.open(DOCS / "img" / f"{name}-pictures.webp") as committed:
            assert committed.size == sheet.size
