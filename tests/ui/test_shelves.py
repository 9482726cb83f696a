"""The Gallery's shelves: lists in pages, and what is let go when nothing is found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lora_studio.catalog import FAMILIES
from lora_studio.records import ImageRecord, LoraRecord
from lora_studio.store.library import Library
from lora_studio.studio import Studio
from lora_studio.ui.gallery.shelves import first_scan, image_shelf, lora_filters, lora_shelf
from lora_studio.ui.refresh import PageRefresh
from lora_studio.ui.widgets.pages import PAGE, Pages
from tests.support.html import parse

MANY = 2 * PAGE + 10
ALL = ("newest", "")
"""Order and filter of a shelf of all LoRAs."""
SLUGS = [f"shelf-{number:03}" for number in range(MANY)]


@pytest.fixture
def full(studio: Studio) -> Iterator[Studio]:
    """A studio with rows for more LoRAs than two pages hold; the first and the last share a title."""
    library = Library(studio.database)
    for number, slug in enumerate(SLUGS):
        title = "Twin" if slug in (SLUGS[0], SLUGS[-1]) else slug.title()
        library.put_lora(
            LoraRecord(id=slug, slug=slug, title=title, path="", family="", base="b", created_at=-number)
        )
    yield studio
    for slug in SLUGS:
        library.remove_lora(slug)


def shown(html: str) -> list[str]:
    return [str(button.get("data-slug")) for button in parse(html).iter("button") if button.get("data-slug")]


@pytest.mark.parametrize(
    ("wanted", "total", "number", "words"),
    [
        ("1", 130, 1, "1–60 of 130"),
        ("3", 130, 3, "121–130 of 130"),
        ("99", 130, 3, "121–130 of 130"),
        ("-4", 60, 1, "1–60 of 60"),
        ("zwei", 1000, 1, "1–60 of 1,000"),
        (None, 61, 1, "1–60 of 61"),
    ],
)
def test_a_page_that_there_is(wanted: Any, total: int, number: int, words: str) -> None:
    pages = Pages.at(wanted, total)
    assert (pages.number, pages.words) == (number, words)


def test_the_pages_hold_each_lora_once(full: Studio, live: PageRefresh) -> None:
    shelf = live.gallery.loras
    pages = [shown(lora_shelf(shelf, full, ["shelf", str(page), *ALL], "")[shelf.grid]) for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [PAGE, PAGE, 10]
    assert [slug for page in pages for slug in page] == SLUGS


def test_names_of_two_are_told_apart_also_across_pages(full: Studio, live: PageRefresh) -> None:
    shelf = live.gallery.loras
    first = lora_shelf(shelf, full, ["shelf", "1", *ALL], "")[shelf.grid]
    assert f"b · {SLUGS[0]}" in first
    assert f"b · {SLUGS[1]}" not in first


def test_a_search_that_finds_nothing_lets_the_chosen_one_go(full: Studio, live: PageRefresh) -> None:
    shelf = live.gallery.loras
    assert set(lora_shelf(shelf, full, [SLUGS[3], "1", *ALL], SLUGS[0])) == {shelf.grid}
    gone = lora_shelf(shelf, full, ["no such thing", "1", *ALL], SLUGS[0])
    assert (gone[shelf.chosen], gone[shelf.actions]["visible"]) == ("", False)
    assert 'data-action="clear"' in gone[shelf.grid]
    images = live.gallery.images
    assert image_shelf(images, full, ["no such thing", "1", ""], "x")[images.chosen] == ""


def test_the_lists_offer_what_there_is_and_show_what_is_chosen(full: Studio) -> None:
    def chosen(order: str, only: str) -> tuple[list[str], set[str]]:
        options = list(parse(lora_filters(full, order, only)).iter("option"))
        selected = [str(one.get("value")) for one in options if one.get("selected")]
        return selected, {str(one.get("value")) for one in options}

    selected, offered = chosen("name", "base=b")
    assert selected == ["name", "base=b"]
    assert {"newest", "used", "", "favourite", "base=b"} <= offered
    name, title = next(iter(FAMILIES.items()))
    assert f">{title}<" in lora_filters(full, "newest", f"family={name}")
    assert chosen("newest", "tag=gone")[0] == ["newest", "tag=gone"]  # that nothing has any more


def test_pictures_come_in_pages_each_content_once(studio: Studio) -> None:
    library = Library(studio.database)
    paths = [f"/shelf/{number:03}.png" for number in range(9)]
    records = [
        ImageRecord(
            id=f"shelf-{number // 3}",
            path=path,
            thumbnail="",
            prompt="shelf",
            seed=1,
            width=8,
            height=8,
            created_at=number,
        )
        for number, path in enumerate(paths)
    ]
    library.put_images([(record, "") for record in records])
    try:
        assert library.count_images("shelf") == 3
        found = [library.images("shelf", limit=1, offset=offset)[0].path for offset in range(3)]
        assert found == [paths[8], paths[5], paths[2]]
    finally:
        library.remove_images(paths)


def test_a_first_scan_has_a_bar_while_it_goes_on(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_scan(studio) == ""
    monkeypatch.setattr(type(studio.first_scan), "progress", property(lambda _: (1200, 4800)))
    bar = next(part for part in parse(first_scan(studio)).iter("div") if part.get("role") == "progressbar")
    assert (bar.get("aria-valuenow"), bar.get("aria-valuemax")) == ("1200", "4800")
