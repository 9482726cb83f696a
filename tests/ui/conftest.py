"""Pages over empty studios, to be looked at only: a second of the processor each, so they are made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from lora_studio.settings import Settings
from lora_studio.store.people.visitors import Visitors
from lora_studio.studio import Studio, open_studio
from lora_studio.ui.blocks import build
from lora_studio.ui.page import Page
from lora_studio.ui.refresh import PageRefresh
from tests.support.gradio_leftovers import IGNORE

MakePage = Callable[[bool], Page]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith("tests/ui/"):
            item.add_marker(IGNORE)


@pytest.fixture(scope="session")
def _make_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakePage]:
    with ExitStack() as opened:

        def make(is_open: bool) -> Page:
            top = tmp_path_factory.mktemp("page")
            settings = Settings(home=top / "home", models=top / "models")
            settings.create_folders()
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("GRADIO_TEMP_DIR", str(settings.uploads))  # open_studio sets it
                studio = opened.enter_context(closing(open_studio(settings, start_worker=False)))
                return build(studio, Visitors.over(studio.database, settings, is_open=is_open))

        yield make


@pytest.fixture(scope="session")
def page(_make_page: MakePage) -> Page:
    """As the person at the machine has it."""
    return _make_page(True)


@pytest.fixture(scope="session")
def locked_page(_make_page: MakePage) -> Page:
    """As those have it who have logged in."""
    return _make_page(False)


@pytest.fixture
def live(page: Page, studio: Studio) -> PageRefresh:
    """The part of a page that follows the store, that of this test's studio."""
    return replace(page.refresh, studio=studio)
