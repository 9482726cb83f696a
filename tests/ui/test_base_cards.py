"""The base models as cards: what each one says, for those that can be used and those that can't."""

from __future__ import annotations

from lora_studio.catalog import BASES
from lora_studio.settings import Settings
from lora_studio.ui.upload.base_cards import base_cards
from lora_studio.ui.widgets.html_templates import fill
from tests.support.html import NASTY, parse


def test_each_base_says_where_it_is_what_it_takes_and_under_which_licence(settings: Settings) -> None:
    cards = {card.name: card for card in base_cards(settings)}
    assert list(cards) == list(BASES)
    assert cards["starter"].source == "In the box"
    assert cards["sd15"].source == "Downloaded at the first use: 2.7 GB"
    assert cards["z-image"].trains == "Trains on a graphics card of 24 GB."
    assert cards["z-image-turbo"].draws.startswith("Drawing: 20.5 GB of weights")
    assert (cards["z-image-turbo"].trained, cards["z-image-turbo"].trains) == ("Z-Image", "")
    for card in cards.values():
        assert card.licence
        assert card.family
        assert card.trains or card.trained


def test_a_file_that_is_no_base_says_so_and_breaks_out_of_nothing(settings: Settings) -> None:
    settings.bases.mkdir(parents=True, exist_ok=True)
    (settings.bases / "broken<b>.safetensors").write_bytes(b"x")
    (card,) = [card for card in base_cards(settings) if card.name == "broken<b>.safetensors"]
    assert card.source.startswith("Can't be used: ")
    shown = parse(fill("base_cards", cards=base_cards(settings), chosen=NASTY, searched_from=8))
    radios = [one for one in shown.iter("input") if one.get("type") == "radio"]
    assert len(radios) == len(BASES) + 1
    assert not [one for one in radios if one.get("checked")]
    assert [one.get("value") for one in radios if one.get("disabled")] == [
        base.name for base in BASES.values() if base.train_instead
    ]
