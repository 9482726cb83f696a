"""Each tab in each state, light and dark, on a desk and on a phone: for eyes, fingers and screen readers of
all kinds. One walk through the states finds what all tests here are about."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.furnished_home import furnished_home
from tests.support.page import PATIENCE
from tests.support.page_faults import PageFaults
from tests.support.page_states import all_states

STATES = 48


@pytest.fixture(scope="module")
def faults(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> PageFaults:
    found = PageFaults()
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    with pytest.MonkeyPatch.context() as patch:
        folder: Path = tmp_path_factory.mktemp("accessibility")
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        with furnished_home(folder) as home:
            page = context.new_page()
            page.goto(home.address, wait_until="domcontentloaded")
            for state in all_states(page, home):
                found.examine(page, state)
            context.close()
    assert len(found.states) >= STATES
    return found


def test_axe_finds_nothing_grave(faults: PageFaults) -> None:
    assert "\n".join(faults.axe) == ""


def test_what_is_pressed_is_large_enough(faults: PageFaults) -> None:
    assert "\n".join(faults.small) == ""


def test_nothing_sticks_out_sideways(faults: PageFaults) -> None:
    assert "\n".join(faults.wide) == ""


def test_nothing_moves_for_those_who_want_none_of_it(faults: PageFaults) -> None:
    assert "\n".join(faults.moving) == ""
