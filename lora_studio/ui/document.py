"""The HTML document that Gradio serves, with our script first in its head.

What `launch(head=...)` is given arrives with Gradio's config and runs after Gradio has chosen a language and
sent its first requests (6.31); ours has to be there before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gradio.routes import templates
from jinja2 import BaseLoader, Environment

SCRIPT = Path(__file__).with_name("page.js")


class Documents(BaseLoader):
    """Gradio's own templates; `script` stands at the beginning of the head of each."""

    def __init__(self, own: BaseLoader, script: str) -> None:
        self._own, self._script = own, script

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        source, name, is_fresh = self._own.get_source(environment, template)
        added = f"<head>{{% raw %}}<script>{self._script}</script>{{% endraw %}}"
        return source.replace("<head>", added, 1), name, is_fresh


def add_script() -> None:
    """Once for the process: the templates are Gradio's."""
    loader = templates.env.loader
    if loader is not None and not isinstance(loader, Documents):
        templates.env.loader = Documents(loader, SCRIPT.read_text("utf-8"))
