from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.studio import Studio, open_studio
from tests.support.gradio_leftovers import IGNORE, _sweep_event_loops

__all__ = ["_sweep_event_loops"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(IGNORE)


@pytest.fixture
def studio() -> Iterator[Studio]:
    """A real studio in folders of this test; its queue stands still."""
    opened = open_studio(start_worker=False)
    yield opened
    opened.close()
