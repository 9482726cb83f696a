"""The base models as cards to compare and to choose from."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from lora_studio.catalog import BASES, Base, family_title
from lora_studio.errors import StudioError
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.hub import must_fetch
from lora_studio.families.base_files.locate import find_base
from lora_studio.formatting import size
from lora_studio.settings import Settings
from lora_studio.ui.client_input.validate import QUICK, base_names, guarded, safe_base
from lora_studio.ui.widgets.html_templates import fill, panel

SEARCHED_FROM = 8
"""Cards from which on there is a search among them."""
CARDS_JS = """
element.addEventListener('change', (event) => {
  if (event.target.name === 'base-card') trigger('submit', {base: event.target.value});
});
element.addEventListener('input', (event) => {
  if (event.target.type !== 'search') return;
  const words = event.target.value.toLowerCase().split(' ').filter(Boolean);
  const cards = [...element.querySelectorAll('.base-card')];
  const fits = (card) => words.every((word) => card.textContent.toLowerCase().includes(word));
  for (const card of cards) card.hidden = !fits(card);
  element.querySelector('.none-found').hidden = cards.some((card) => !card.hidden);
});
"""
"""Script of the cards: the choice, and the search."""
MARK_JS = """(name) => {
  for (const one of document.querySelectorAll('[name=base-card]')) one.checked = one.value === name;
}"""
"""Script that marks the card of a base that was chosen elsewhere."""


@dataclass(frozen=True, kw_only=True)
class BaseCard:
    """A card's facts: `source` says where the base is or comes from, `trains` and `draws` what that takes;
    `trained` is the title of the base that LoRAs for a distilled one are trained on."""

    name: str
    title: str
    family: str
    side: int
    licence: str
    source: str
    trains: str
    draws: str
    note: str
    steps: int
    trained: str


@dataclass(frozen=True, kw_only=True)
class BaseParts:
    """The fold and the cards in it, which are made when it is opened."""

    fold: gr.Accordion
    cards: gr.HTML


def render() -> BaseParts:
    """Create the components. Call below the choice of the base."""
    with gr.Accordion("Compare the base models", open=False, elem_id="upload-compare") as fold:
        cards = panel(elem_id="upload-bases", actions=CARDS_JS)
    return BaseParts(fold=fold, cards=cards)


def listen(parts: BaseParts, base: gr.Dropdown, settings: Settings) -> None:
    """Wire the cards with the choice of the base."""

    def show_cards(chosen: str) -> str:
        return fill("base_cards", cards=base_cards(settings), chosen=chosen, searched_from=SEARCHED_FROM)

    def choose_base(event: gr.EventData) -> str:
        return safe_base(getattr(event, "base", None), settings)

    parts.fold.expand(guarded(show_cards), base, parts.cards, **QUICK)
    parts.cards.submit(guarded(choose_base), None, base, **QUICK)
    base.change(None, base, None, js=MARK_JS, **QUICK)


def base_cards(settings: Settings) -> list[BaseCard]:
    """A card for each base that can be chosen by name, in the order of the choices."""
    return [_card(name, settings) for _, name in base_names(settings)]


def _card(name: str, settings: Settings) -> BaseCard:
    try:
        found = find_base(name, settings)
    except StudioError as error:
        entry = BASES.get(name)
        return _told(name, entry, f"Can't be used: {error.message}")
    return _told(name, found.traits, _source(found, BASES.get(name)))


def _told(name: str, traits: Base | None, source: str) -> BaseCard:
    """The card of a base as far as its traits are entry."""
    entry = traits or Base(name=name, title=name, family="", source="", native_size=0)
    trained = BASES.get(entry.train_instead)
    return BaseCard(
        name=name,
        title=entry.title or name,
        family=family_title(entry.family) if entry.family else "",
        side=entry.native_size,
        licence=entry.licence,
        source=source,
        trains=_trains(entry),
        draws=_draws(entry),
        note=entry.note,
        steps=entry.num_inference_steps,
        trained=trained.title if trained else "",
    )


def _source(found: FoundBase, entry: Base | None) -> str:
    if entry and not entry.source:
        return "In the box"
    if not must_fetch(found):
        return "Here"
    return f"Downloaded at the first use: {size(entry.download_bytes)}" if entry else "Not here"


def _trains(base: Base) -> str:
    if base.train_instead:
        return ""
    if not base.source and base.name in BASES:
        return "Trains without a graphics card, in minutes."
    if base.card_gb:
        return f"Trains on a graphics card of {base.card_gb} GB."
    return "Plan measures what training takes here."


def _draws(base: Base) -> str:
    weights = base.weights_bytes or base.download_bytes
    if not weights:
        return ""
    return f"Drawing: {size(weights)} of weights; what doesn't fit a card waits in the memory."
