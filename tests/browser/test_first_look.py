"""The page as it is at first, on a desk and in the dark on a phone, under axe-core and a ruler."""

from __future__ import annotations

from tests.support.page import OpenPage
from tests.support.page_faults import DESK, PHONE, PageFaults
from tests.support.page_states import empty_states


def test_the_empty_page_has_no_fault(open_page: OpenPage) -> None:
    page, found = open_page(), PageFaults()
    for state in empty_states(page):
        found.examine(page, state, views=((DESK, "light"), (PHONE, "dark")))
    assert "\n".join((*found.axe, *found.small, *found.wide, *found.moving)) == ""
