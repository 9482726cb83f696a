from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.endpoint_table import World
from tests.support.api_caller import Caller, caller
from tests.support.gradio_leftovers import IGNORE
from tests.support.serving import App, running_app
from tests.support.shared_apps import PASSWORD


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(("tests/integration/test_api.py", "tests/integration/test_app.py")):
            item.add_marker(IGNORE)


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """One app for all that need no other: its start and the loading of torch take ten seconds. It is as the
    tests before have left it."""
    with running_app(tmp_path_factory.mktemp("app")) as running:
        yield running


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The same behind a password, that of USER."""
    with running_app(tmp_path_factory.mktemp("locked"), LORA_STUDIO_PASSWORD=PASSWORD) as running:
        yield running


@pytest.fixture(scope="session")
def studio(app: App) -> Iterator[Caller]:
    with caller(app) as made:
        yield made


@pytest.fixture(scope="session")
def world(studio: Caller, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.in_app(studio, tmp_path_factory.mktemp("world"))
