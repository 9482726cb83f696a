"""The door: texts, HTML and Gradio's messages in the language that is answered in."""

from __future__ import annotations

import html
from typing import Any

from lora_studio.ui.languages.language import ENGLISH, language
from lora_studio.ui.languages.message_table import MessageTable, message_table
from lora_studio.ui.languages.translated_html import translated_html


def present_table() -> MessageTable | None:
    """The table of the language that is answered in; None for English."""
    return None if language() == ENGLISH else message_table(language())


def translated(text: str) -> str:
    """A finished English text in the language that is answered in."""
    table = present_table()
    return table.translated(text) if table else text


def translated_markup(markup: str) -> str:
    """HTML of ours in the language that is answered in."""
    table = present_table()
    return translated_html(markup, table) if table else markup


def translated_message(message: str) -> str:
    """A message that pops up, in which Gradio renders markup (6.31): text escaped by `as_words`."""
    return html.escape(translated(html.unescape(message)), quote=False)


def translate_messages(queue: Any) -> None:
    """Let a queue of Gradio's say messages and progress in the language of who reads them."""
    log, progress = queue.log_message, queue.set_progress

    def log_message(**facts: Any) -> None:
        log(**{**facts, "log": translated_message(facts["log"]), "title": translated(facts["title"])})

    def set_progress(event_id: str, iterables: Any) -> None:
        for iterable in iterables or ():
            if iterable.desc:
                iterable.desc = translated(iterable.desc)
        progress(event_id, iterables)

    queue.log_message, queue.set_progress = log_message, set_progress
