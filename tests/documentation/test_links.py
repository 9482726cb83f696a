"""No link inside of the documentation is dead: neither files nor headings, and each page can be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.markdown import anchors, documentation, links, name_of
from tests.support.serving import CHECKOUT


@pytest.mark.parametrize("page", documentation(), ids=name_of)
def test_no_link_is_dead(page: Path) -> None:
    dead = []
    for link in links(page):
        target, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(link)
    assert dead == []


def test_each_page_is_linked_from_another() -> None:
    reached = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in documentation()
        for link in links(page)
        if "://" not in link
    }
    assert [
        name_of(page) for page in documentation() if page not in reached and page.parent != CHECKOUT
    ] == []


def test_anchors_are_made_as_github_makes_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Why `x` isn't (y)?\n\n## A [link](b.md)\n\n## Ä 2\n\n## A link\n", "utf-8")
    assert anchors(page) == {"why-x-isnt-y", "a-link", "a-link-1", "ä-2"}
