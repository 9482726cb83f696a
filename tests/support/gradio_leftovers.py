"""Gradio leaves an event loop unclosed for each Blocks made outside of one (6.31, utils.safe_get_lock)."""

from __future__ import annotations

import gc
import warnings

import pytest

IGNORE = pytest.mark.filterwarnings("ignore::ResourceWarning")


def sweep() -> None:
    """Collect what was left open, at a module's end, so that no other test gets the warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
