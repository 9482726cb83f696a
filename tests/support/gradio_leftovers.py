"""Gradio leaves an event loop unclosed for each Blocks made outside of one (6.31, utils.safe_get_lock)."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest

IGNORE = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def _sweep_event_loops() -> Iterator[None]:
    """Collect them here, so that the warning does not hit a test of something else. For use in a conftest."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
