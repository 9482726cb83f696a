from __future__ import annotations

from lora_studio.store.people.visitors import Visitors
from lora_studio.studio import Studio
from lora_studio.ui.blocks import build
from lora_studio.ui.client_input.audited_calls import DEEDS, deed_of


def test_every_name_is_one_of_a_call(studio: Studio) -> None:
    visitors = Visitors.over(studio.database, studio.settings, is_open=False)  # the page that has all of them
    names = {block_fn.name for block_fn in build(studio, visitors).fns.values()}
    assert not DEEDS.keys() - names


def test_looking_is_not_logged() -> None:
    assert deed_of("list_loras") == deed_of("lambda") == ""
    assert deed_of("share") == "share"
