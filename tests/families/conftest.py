from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny import SHAPES, make_tiny


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base of each shape, to be read only."""
    folder = tmp_path_factory.mktemp("bases")
    return {shape: make_tiny(shape, folder / shape) for shape in SHAPES}
