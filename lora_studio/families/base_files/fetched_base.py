"""A base that lies on the Hub, brought here."""

from __future__ import annotations

from lora_studio.events import Emit, ShouldStop
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.hub import fetch
from lora_studio.families.base_files.locate import find_base


def fetched_base(found: FoundBase, emit: Emit, should_stop: ShouldStop) -> FoundBase | None:
    """Do `fetch` for a base that may lie anywhere, and find it anew: what it says of itself is known only
    now. None when stopped. Raises what `fetch` and `find_base` raise."""
    if found.layout != "hub":
        return found
    if fetch(found.path_or_id, emit, should_stop) is None:
        return None
    return find_base(found.name)
