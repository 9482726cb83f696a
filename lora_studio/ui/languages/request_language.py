"""The language of a request, for all that answers it."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from lora_studio.ui.languages.language import ENGLISH, asked_language, speaking


def in_its_language(app: ASGIApp) -> ASGIApp:
    """An app whose every request is answered in the language that it asks for. What others may keep of an
    answer holds for requests that ask alike."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        asked = asked_language(Headers(scope=scope)) if scope["type"] == "http" else ENGLISH
        with speaking(asked):
            await app(scope, receive, send)

    return answer
