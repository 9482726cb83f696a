"""The components of the page as Gradio copies them for each session, without their configuration.

Gradio writes down the configuration of every component for every session, and of each output again after
every event, so that a link can bring the page back as it was (6.31). This page has no such links: its address
and its drafts are kept in the browser. A call that names no session has one of its own while it lasts.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from gradio.blocks import BlocksConfig


class PageComponents(BlocksConfig):
    """Components and events of the page; a copy of it, as each session has one, describes nothing."""

    def __copy__(self) -> BlocksConfig:
        session = SessionComponents(self.root_block)
        session.blocks, session.fns = copy(self.blocks), copy(self.fns)
        session.fn_id, session.renderables = self.fn_id, copy(self.renderables)
        return session


class SessionComponents(BlocksConfig):
    """Components of one session."""

    @staticmethod
    def config_for_block(*_: Any, **__: Any) -> dict[str, Any]:
        """No configuration, where Gradio would keep one for its links into a page as it is."""
        return {}
