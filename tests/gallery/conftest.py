"""A gallery over an empty library."""

from __future__ import annotations

import pytest

from lora_studio.gallery import Gallery
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.library import Library


@pytest.fixture
def gallery(settings: Settings, database: Database) -> Gallery:
    return Gallery(settings, Library(database))
