from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.studio import Studio
from lora_studio.ui.blocks import build
from lora_studio.ui.refresh import PageRefresh
from tests.support.gradio_leftovers import IGNORE


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(IGNORE)


@pytest.fixture
def live(studio: Studio) -> PageRefresh:
    """The part of a page that follows the store."""
    return build(studio).refresh
