from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gradio_leftovers import IGNORE
from tests.support.serving import App, running_app


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and item.path.name in {"test_api.py", "test_app.py"}:
            item.add_marker(IGNORE)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running_app(tmp_path_factory.mktemp("app")) as running:
        yield running
