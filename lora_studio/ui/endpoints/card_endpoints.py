"""The named endpoints about a LoRA's model card, and about putting a LoRA on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

from lora_studio.errors import ConfigError, DeviceBusy
from lora_studio.lora.card_fields import CARD, given_words, read_words
from lora_studio.lora.library_card import card_base, card_of
from lora_studio.lora.lora_folder import read_notes
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import safe_slug, shown, text, yes_or_no
from lora_studio.ui.endpoints.image_endpoints import session_of_caller
from lora_studio.ui.train.cancel_events import Stops


class ModelCard(TypedDict):
    """`markdown` is the whole card; the others are what people wrote for it; `licence` is the base's."""

    description: str
    trigger: str
    prompts: list[str]
    licence: str
    markdown: str


class PublishedModel(TypedDict):
    """The address of a model's page on the Hub."""

    address: str


class CardEndpoints:
    """Endpoints of cards. Each public method is one endpoint of the same name."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._sending = Stops()

    def get_card(self, slug: str) -> ModelCard:
        """The model card of a LoRA.

        Args:
            slug: From list_loras.
        """
        record = self._studio.gallery.lora(safe_slug(slug))
        folder = Path(record.path).parent
        words = read_words(read_notes(folder))
        return ModelCard(
            description=words.description,
            trigger=words.trigger,
            prompts=list(words.prompts),
            licence=card_base(record).licence,
            markdown=card_of(folder),
        )

    def set_card(
        self, slug: str, description: str = "", trigger: str = "", prompts: list[str] | None = None
    ) -> ModelCard:
        """Write what a LoRA's model card says; answers as get_card does.

        Args:
            slug: From list_loras.
            description: What it is good for, in Markdown.
            trigger: The words that call it up; empty for those in the file.
            prompts: Prompts to try.
        """
        words = given_words(
            description=text(description, "description"),
            trigger=text(trigger, "trigger"),
            prompts="\n".join(_lines(prompts)),
        )
        self._studio.gallery.say_of_lora(safe_slug(slug), "model card", {CARD: words.as_notes()})
        return self.get_card(slug)

    def publish_lora(self, slug: str, name: str = "", private: bool = True) -> PublishedModel:
        """Put a LoRA with its card and previews on the Hugging Face Hub, as a model of its own, with the
        token of the studio's machine. For admins.

        Args:
            slug: From list_loras.
            name: Its name there, as owner/name; without an owner it is the token's, empty for the slug.
            private: Whether only the owner sees it.
        """
        with self._sending.watch(session_of_caller()) as should_stop:
            address = self._studio.publisher.publish(
                safe_slug(slug),
                text(name, "name"),
                private=yes_or_no(private, "private"),
                should_stop=should_stop,
            )
        if not address:
            raise DeviceBusy("The upload was stopped; nothing new is on the Hub.", "Ask for it again.")
        return PublishedModel(address=address)

    def stop_publishing(self) -> bool:
        """Stop the upload that publish_lora is doing for this client. True if there was one."""
        return self._sending.ask(session_of_caller())


def _lines(given: Any) -> list[str]:
    """Prompts as a client sends them, each a line. Raises ConfigError."""
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise ConfigError(f"prompts: a list of texts is needed (got {shown(given)}).", field="prompts")
    return [" ".join(text(one, "prompts").split()) for one in given]
