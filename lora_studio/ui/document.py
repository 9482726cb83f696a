"""The HTML document that Gradio serves, with our scripts first in its head, in the language of who asks.

The argument of `launch(head=...)` arrives with Gradio's config and runs after Gradio has chosen a language
and sent its first requests (6.31); ours have to be there before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import gradio as gr
from gradio.routes import templates
from jinja2 import BaseLoader, Environment
from markupsafe import Markup

from lora_studio.ui.languages.language import language
from lora_studio.ui.languages.translated_scripts import translated_script
from lora_studio.ui.languages.translation import present_table

THEMES = """<style>
:root[data-theme="light"] { color-scheme: light; }
:root[data-theme="dark"] { color-scheme: dark; }
:root[data-theme="light"] body { background: var(--bg); color: var(--col); }
:root[data-theme="dark"] body { background: var(--bg-dark); color: var(--col-dark); }
</style>"""
"""Style until Gradio's own is there, by the theme that was chosen instead of the system's."""
SCRIPTS = ("look.js", "page.js", "keyboard.js", "toasts.js")
"""Joined in this order."""
CHANGES = {
    "event_states.js": ("statustracker-*.js", "resolve_args("),
    "attached_events.js": ("core-*.js", "find_attached_events("),
    "dropdown_input.js": ("src-*.js", "watch_for_change()"),
}
"""Our changes of Gradio's modules: which files each may be in, and what the one defines."""


class Documents(BaseLoader):
    """Gradio's templates, our scripts at the beginning of each head, marked as what they are written in."""

    def __init__(self, gradios: BaseLoader) -> None:
        self._own = gradios

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        source, name, is_fresh = self._own.get_source(environment, template)
        head = f"<head>{THEMES}<script>{{{{ studio_script() }}}}</script>{{{{ studio_changes() }}}}"
        source = source.replace('lang="en"', 'lang="{{ studio_language() }}"', 1)
        return source.replace("<head>", head, 1), name, is_fresh


@cache
def _script(tag: str) -> Markup:
    """Our scripts with their sentences in a language, the one that is answered in."""
    scripts = [Path(__file__).with_name(name).read_text("utf-8") for name in SCRIPTS]
    if table := present_table():
        scripts = [translated_script(script, table) for script in scripts]
    return Markup("</script><script>".join(scripts))


def changed_module(change: str) -> str:
    """File name of Gradio's module that a change of ours is for, or none if it isn't found for sure."""
    pattern, definition = CHANGES[change]
    assets = Path(gr.__file__).parent / "templates" / "frontend" / "assets"
    found = [file.name for file in assets.glob(pattern) if definition in file.read_text("utf-8")]
    return found[0] if len(found) == 1 else ""


@cache
def _changes() -> Markup:
    """Our changes of these modules, once all that Gradio needs at first has been read."""
    scripts = []
    for change in CHANGES:
        if name := changed_module(change):
            loading = f"const parts = await import('./assets/{name}');"
            script = f"{loading}\n{Path(__file__).with_name(change).read_text('utf-8')}"
            scripts.append(f"window.addEventListener('DOMContentLoaded', async () => {{ {script}}});")
    return Markup("".join(f'<script type="module">{script}</script>' for script in scripts))


def add_script() -> None:
    """Put our scripts into Gradio's templates, once for the process."""
    loader = templates.env.loader
    if loader is not None and not isinstance(loader, Documents):
        templates.env.loader = Documents(loader)
        templates.env.globals |= {"studio_language": language, "studio_script": lambda: _script(language())}
        templates.env.globals["studio_changes"] = _changes
