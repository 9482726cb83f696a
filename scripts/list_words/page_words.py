"""All messages of the page, and where they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from scripts.list_words.source_words import script_messages, source_messages, title_messages
from scripts.list_words.template_words import template_messages

ROOT = Path(__file__).resolve().parents[2] / "lora_studio"
TEMPLATES = ROOT / "ui" / "widgets" / "templates"
SHOWN = (
    "ui/*.py",
    "ui/[!elps]*/*.py",
    "ui/people/*.py",
    "ui/picture_sets/*.py",
    "ui/upload/*.py",
    "ui/serving/gate.py",
    "ui/serving/login_form.py",
    "access/*.py",
    "catalog/base_models.py",
    "captioning/caption_[er]*.py",
    "captioning/tagger_[ct]*.py",
    "catalog/kinds.py",
    "config_groups/*.py",
    "config.py",
    "dataset.py",
    "data/checks/[!p]*.py",
    "data/checks/picture_[!f]*.py",
    "data/edits/overlay.py",
    "data/edits/edit_log.py",
    "data/ingestion/*.py",
    "estimate.py",
    "event_text.py",
    "events.py",
    "formatting.py",
    "gallery.py",
    "grids/*.py",
    "jobs/captioning/*.py",
    "jobs/checking/*.py",
    "jobs/failure.py",
    "jobs/generation_queue.py",
    "jobs/training_queue.py",
    "lora/checkpoint_report.py",
    "lora/strength_report.py",
    "operations/*.py",
    "parsing/numbers.py",
    "prompts/styles.py",
    "request.py",
    "training_request.py",
    "training_setup.py",
)
"""Files whose sentences the page shows."""
UNSEEN = frozenset(
    f"ui/{name}.py"
    for name in (
        "theme",
        "client_input/audited_calls",
        "client_input/fault_log",
        "client_input/session_owners",
        "client_input/upload_owners",
    )
)
"""Files among them with texts that nobody reads."""
SHORT: Mapping[str, tuple[str, ...]] = {
    "states": (
        *("queued", "running", "paused", "stopping", "stopped"),
        *("done", "finished", "failed", "interrupted"),
    ),
    "roles": ("viewer", "creator", "admin"),
    "severities": ("serious", "warning", "note"),
    "parts of findings": (
        *("twice", "alone", "has", "have", "black", "white", "plain"),
        *("top", "middle", "bottom", "left", "centre", "right"),
    ),
    "facts": (
        *("kind", "base", "steps", "size", "made", "folder", "hash", "seed", "none", "picture", "LoRAs"),
        *("person", "style", "object", "character", "automatic", "on", "off", "pictures", "favourites"),
    ),
    "labels": ("Height", "Width", "Warm-up", "random", "v-prediction", "About {duration}", "Fine-tuning"),
    "around captions and times": ("no caption", "about {duration} left", "in about {duration}"),
    "Gradio's titles of messages": ("Error", "Info", "Warning"),
    "signs between the parts of a list": (", ",),
}
"""Single words that the page shows from data, and what they are."""
AS_THEY_ARE = re.compile(
    r".*(Licen[sc]e|OpenRAIL|Apache|FLUX\.|setAttribute|watermark).*"
    r"|\{prompt\}, .* style|\{prompt\} (on a|at night).*|.* of \{prompt\}, .*|seamless repeating pattern .*"
    r"|(lora|image) (shelf|filters)|(event|session|person|address|failed) \{\w+\}"
    r"|Z-Image|draw here|train here"
    r"|none, .*|ink: .*|images=.*|rank, caption.*|\d+, .*|lanczos, latent|DDIM, .*"
    r"|an? (line|short text|version|year|entry) (is|has|of|comes) .*"
    r"|Value error|noopener.*|\[\[datasets.*|unknown event kind .*|no step of a run"
)
"""Names, examples in the form that fields take, prompts for models, and what is written for programs."""


def shown_files() -> list[Path]:
    files = {file for pattern in SHOWN for file in ROOT.glob(pattern)}
    return sorted(file for file in files if file.relative_to(ROOT).as_posix() not in UNSEEN)


@cache
def page_messages() -> frozenset[str]:
    """All messages, as the tables have them."""
    files = shown_files()
    page = [file for file in files if "ui" in file.relative_to(ROOT).parts]
    short = (word for words in SHORT.values() for word in words)
    scripts = sorted((ROOT / "ui").rglob("*.js"))
    return frozenset(
        text
        for text in [
            *template_messages(TEMPLATES),
            *source_messages(files),
            *title_messages(page),
            *script_messages(scripts),
            *short,
        ]
        if not AS_THEY_ARE.fullmatch(text)
    )
