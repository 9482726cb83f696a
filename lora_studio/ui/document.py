"""The HTML document that Gradio serves, with our scripts first in its head.

The argument of `launch(head=...)` arrives with Gradio's config and runs after Gradio has chosen a language
and sent its first requests (6.31); ours have to be there before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gradio.routes import templates
from jinja2 import BaseLoader, Environment

SCRIPTS = ("page.js", "toasts.js")


class Documents(BaseLoader):
    """Gradio's own templates, each with `script` at the beginning of its head."""

    def __init__(self, gradios: BaseLoader, script: str) -> None:
        self._own, self._script = gradios, script

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        source, name, is_fresh = self._own.get_source(environment, template)
        added = f"<head>{{% raw %}}<script>{self._script}</script>{{% endraw %}}"
        return source.replace("<head>", added, 1), name, is_fresh


def add_script() -> None:
    """Put our scripts into Gradio's templates, once for the process."""
    loader = templates.env.loader
    if loader is not None and not isinstance(loader, Documents):
        folder = Path(__file__).parent
        scripts = ((folder / name).read_text("utf-8") for name in SCRIPTS)
        templates.env.loader = Documents(loader, "</script><script>".join(scripts))
