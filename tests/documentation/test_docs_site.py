"""The documentation as a site: built strictly, without dead links, asking no other host."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.build_site import all_pages, navigation, problems, with_links_to_pages
from tests.support.markdown import documentation, name_of
from tests.support.serving import CHECKOUT
from tests.support.waiting import PATIENCE


@pytest.mark.slow  # 8 s: two diagrams are drawn by Mermaid
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("zensical", reason="needs the packages of the extra docs")
    out = tmp_path / "site"
    command = [sys.executable, "-m", "scripts.build_site", "--out", str(out)]
    run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 0, run.stdout + run.stderr
    built = {file.relative_to(out).as_posix() for file in out.rglob("*.html")}
    wanted = {name_of(page).removesuffix(".md") + ".html" for page in documentation()} - {"README.html"}
    assert wanted <= built
    assert len(list(out.rglob("architecture-*.svg"))) == 2
    again = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=PATIENCE)
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_every_page_of_the_documentation_is_a_page_of_the_site() -> None:
    assert set(documentation()) <= set(all_pages())


def test_the_tree_is_what_the_overview_lists() -> None:
    tree = str(navigation([page.relative_to(CHECKOUT) for page in all_pages()]))
    headings = re.findall(r"^## (.+)$", (CHECKOUT / "docs" / "index.md").read_text("utf-8"), re.MULTILINE)
    assert headings
    assert all(heading in tree for heading in headings)
    places = re.findall(r"'([\w./-]+\.md)'", tree)
    assert sorted(places) == sorted({page.relative_to(CHECKOUT).as_posix() for page in all_pages()})


def test_links_to_what_is_no_page_become_words() -> None:
    page = CHECKOUT / "docs" / "index.md"
    text = (
        "[code](../launch.py), [guide](guide.md#4), ![x](img/x.png), [web](https://a.example), [here](#a)\n"
    )
    fenced = "```\n[code](../launch.py)\n```\n"
    said = with_links_to_pages(text + fenced, page, {CHECKOUT / "docs" / "guide.md"})
    assert said == text.replace("[code](../launch.py)", "code") + fenced


def test_what_is_wrong_with_a_site_is_found(tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text('<h1 id="top">B</h1>', "utf-8")
    (tmp_path / "a.html").write_text(
        '<a href="b.html#top">good</a><a href="b.html#gone">x</a><a href="c.html">x</a>'
        '<a href="https://elsewhere.example">a page to go to</a><a href="#gone"></a>'
        '<script src="https://cdn.example/x.js"></script><link rel="stylesheet" href="//fonts.example/x.css">'
        '<link rel="canonical" href="https://a.example">',
        "utf-8",
    )
    assert problems(tmp_path) == [
        "a.html fetches https://cdn.example/x.js",
        "a.html fetches //fonts.example/x.css",
        "a.html leads to b.html#gone, and there is no such place on that page",
        "a.html leads to c.html, which is not there",
        "a.html leads to #gone, and there is no such place on that page",
    ]
