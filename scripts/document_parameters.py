"""Write docs/parameters.md from the code: python -m scripts.document_parameters [--check]"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from lora_studio.catalog import BASES, FAMILIES, FEWEST_STEPS, MOST_STEPS, PRESETS, SAMPLERS
from lora_studio.config import Leaf, TrainConfig, config_leaves
from lora_studio.request import GenerateRequest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "parameters.md"
SETTING_HEAD = ("setting", "default", "range", "what it does", "which way", "what it costs")
GROUPS = {
    "model": "Base model",
    "dataset": "Pictures and captions",
    "network": "The LoRA itself",
    "optimizer": "Steps and learning rate",
    "noise": "Noise and loss",
    "preview": "Previews",
    "output": "Result",
    "run": "Engine",
}
INTRODUCTION = """\
# Every setting

This page is made from the code: `python -m scripts.document_parameters`. A test fails when it is out of date.

A name is the same everywhere: in the page's form, after `--set` on the command line, in the API's overrides
and in a LoRA's `training.json`. Where sd-scripts has the option, the name is Kohya's. **Bold** ones are
on the page without opening the advanced options.
"""


def render() -> str:
    """The whole page as Markdown."""
    parts = [INTRODUCTION, "## Training", ""]
    for group, title in GROUPS.items():
        leaves = [leaf for leaf in config_leaves() if leaf.group == group]
        parts += [
            f"### {title}",
            "",
            *table(SETTING_HEAD, map(_row, leaves)),
            "",
        ]
    parts += ["## Presets", "", *_presets(), "", "## Base models", "", *_bases(), "", "## Making images", ""]
    parts += [*table(("setting", "default", "range", "what it does"), _request_rows()), ""]
    parts += ["Samplers: " + ", ".join(f"`{name}`" for name in SAMPLERS) + ".", ""]
    return "\n".join(parts)


def table(head: tuple[str, ...], rows: Any) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |"


def _row(leaf: Leaf) -> tuple[str, ...]:
    name = f"`{leaf.name}`"
    default = "*from your inputs*" if leaf.required else _shown(leaf.default)
    return (
        f"**{name}**" if leaf.basic else name,
        default,
        _range(leaf),
        leaf.help_text,
        leaf.direction,
        leaf.cost,
    )


def _shown(value: Any) -> str:
    if value is None or value in ("", ()):
        return "*empty*"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _range(leaf: Leaf) -> str:
    if leaf.choices:
        return ", ".join(f"`{choice}`" for choice in leaf.choices)
    if leaf.annotation is bool:
        return "on, off"
    if leaf.minimum is None:
        return "text"
    low = f"{'above ' if _excludes_least(leaf) else ''}{_number(leaf.minimum)}"
    limits = f"from {low}" if leaf.maximum is None else f"{low} to {_number(leaf.maximum)}"
    return f"{limits} {leaf.unit}".strip()


def _excludes_least(leaf: Leaf) -> bool:
    group: Any = TrainConfig.model_fields[leaf.group].annotation
    return any(hasattr(item, "gt") for item in group.model_fields[leaf.name].metadata)


def _number(value: float) -> str:
    """Whole numbers with a thin space at each thousand."""
    return f"{int(value):,}".replace(",", "\u202f") if value == int(value) else f"{value:g}"


def _presets() -> Iterator[str]:
    yield (
        "A preset is what a kind of subject changes against the defaults above. Steps follow the number of "
        f"pictures, never fewer than {FEWEST_STEPS} nor more than {MOST_STEPS}; a base model with figures of "
        "its own brings those instead."
    )
    yield ""
    rows = (
        (
            f"`{kind}`",
            f"{preset.per_image} × pictures",
            ", ".join(f"`{key}` {_bare(value)}" for key, value in preset.values.items()),
            preset.note,
        )
        for kind, preset in PRESETS.items()
    )
    yield from table(("kind", "steps", "changes", "why"), rows)


def _bases() -> Iterator[str]:
    yield (
        "The families are "
        + " and ".join(FAMILIES.values())
        + ". What a base brings along counts more than the preset:"
    )
    yield ""
    rows = (
        (
            f"`{base.name}`",
            base.title,
            f"{base.native_size} px",
            _download(base.download_bytes),
            _changes(base.name),
        )
        for base in BASES.values()
    )
    yield from table(("base", "what it is", "native size", "download", "brings along"), rows)


def _changes(base: str) -> str:
    shared = BASES[base].training
    parts = [f"`{key}` {_bare(value)}" for key, value in shared.items()]
    for kind, values in BASES[base].kinds.items():
        parts += [
            f"`{key}` {_bare(value)} for `{kind}`"
            for key, value in values.items()
            if value != shared.get(key)
        ]
    return ", ".join(parts) or "nothing"


def _bare(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float | int) else str(value)


def _download(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size else "none"


def _request_rows() -> Iterator[tuple[str, ...]]:
    for name, field in GenerateRequest.model_fields.items():
        kind = _values(field)
        yield f"`{name}`", _shown(field.default), kind, field.description or ""


def _values(field: FieldInfo) -> str:
    """The possible values of a request's field."""
    if field.annotation is bool:
        return "on, off"
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{name}`" for name in get_args(field.annotation))
    limits = {
        key: getattr(item, key)
        for item in field.metadata
        for key in ("ge", "gt", "le")
        if getattr(item, key, None) is not None
    }
    if "le" not in limits:
        return "text"
    least = f"above {_number(limits['gt'])}, up" if "gt" in limits else _number(limits["ge"])
    return f"{least} to {_number(limits['le'])}"


def main() -> int:
    page = render()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, "utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text("utf-8") == page:
        return 0
    print("docs/parameters.md is out of date: run python -m scripts.document_parameters", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
