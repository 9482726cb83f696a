"""Write docs/parameters.md from the code: python -m scripts.document_parameters [--check]"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from lora_studio.catalog import BASES, FAMILIES, FEWEST_STEPS, MOST_STEPS, PRESETS, SAMPLERS
from lora_studio.config import Leaf, TrainConfig, config_leaves
from lora_studio.kohya_config.options import NETWORK_ARGS, OPTIONS
from lora_studio.request import GenerateRequest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "parameters.md"
SETTING_HEAD = ("setting", "default", "range", "what it does", "which way", "what it costs")
ADVICE_HEAD = ("you see or want", "change", "what it costs")
ADVICE = (
    (
        "nothing of your subject after the last step",
        "`max_train_steps` up by half; then `learning_rate` up by half",
        "time; the second, risk",
    ),
    (
        "your pictures again, whatever the prompt says",
        "`max_train_steps` down, or an earlier checkpoint; `network_dim` down",
        "nothing",
    ),
    ("colours burn, shapes break", "`learning_rate` to a half; `max_grad_norm` stays 1", "nothing"),
    (
        "a face that is only nearly right",
        "`network_dim` 32; `text_encoder_lr` as the preset person has it; more pictures",
        "memory, file",
    ),
    ("brush strokes and textures are missed", "`conv_dim` 8 to 16", "memory, file"),
    (
        "other things of its kind change as well",
        "`reg_data_dir` with pictures of the kind; `network_dim` down",
        "half of the steps go to them",
    ),
    (
        "it works only with exactly your captions",
        "`caption_dropout_rate` 0.05 to 0.1; with tags `shuffle_caption`, `keep_tokens` 1",
        "nothing",
    ),
    (
        "very dark or very bright pictures don't come",
        "`noise_offset` 0.03 to 0.1 (not for flow models)",
        "nothing",
    ),
    (
        "details or layout lag behind",
        "`min_snr_gamma` 5 (not for flow models); `timestep_sampling` for those",
        "nothing",
    ),
    (
        "to know when it begins to copy",
        "`validation_split` 0.1, from 20 pictures on",
        "a tenth of the pictures, some time",
    ),
    (
        "no more memory",
        "`train_batch_size` 1, then `gradient_checkpointing`, `blocks_to_swap`, `qtype`, `resolution`",
        "time, at last quality",
    ),
    (
        "it takes too long",
        "`sample_every_n_steps` 0, `train_batch_size` up on a large card, `resolution` down",
        "previews; memory; detail",
    ),
    (
        "to repeat a result",
        "`seed`, the same device, the same versions",
        "nothing",
    ),
    (
        "a file for all programs",
        "`algo` lora, `dora_wd` off; `save_precision` fp16 halves it",
        "nothing",
    ),
)
"""Signs, the settings that they call for in this order, and the price."""
REQUEST_HEAD = ("setting", "default", "range", "what it does", "when to change it", "what it costs")
TIME, NOTHING = "Time.", "Nothing."
REQUEST_EFFECTS = {
    "prompt": ("For another picture. Concrete things before adjectives.", NOTHING),
    "negative_prompt": ("When the same unwanted thing keeps coming.", NOTHING),
    "base": ("For another look; the LoRAs have to be of its family.", "Loading it, once; its memory."),
    "loras": ("A weight of 0.6 to 0.8 leaves more to the base; two together need less each.", NOTHING),
    "insert_trigger": ("Off to see what the LoRA does without its word.", NOTHING),
    "num_inference_steps": ("More for unfinished shapes; little changes beyond 30.", "Time, in proportion."),
    "guidance_scale": (
        "Down when colours burn, up when the prompt is ignored.",
        "At 1 or less half the time.",
    ),
    "width": ("For another shape; near the base's own size.", "Time and memory, by area."),
    "height": ("As width.", "Time and memory, by area."),
    "seed": ("Keep it while you compare anything else.", NOTHING),
    "count": ("To choose from several.", "Time, in proportion."),
    "sampler": ("For a softer or sharper look.", "Heun, DPM2 and DPM++ SDE twice a step."),
    "clip_skip": ("2 for many drawn bases of Stable Diffusion 1.x.", NOTHING),
    "guidance_rescale": ("0.7 for v-prediction bases, or when a high guidance burns.", NOTHING),
    "distilled_guidance_scale": ("Down for less glossy pictures of FLUX.1.", NOTHING),
    "shift": ("Up for large pictures, down when details are missing.", NOTHING),
    "variation_seed": ("Keep it to come back to one sibling of a picture.", NOTHING),
    "variation_strength": ("0.1 to 0.3 for siblings of a picture you like.", NOTHING),
    "image": ("To redraw a picture instead of beginning from noise.", "Less time than a new one."),
    "mask_image": ("To redraw a part and keep the rest to the bit.", NOTHING),
    "strength": ("Down to stay near the picture, up to leave it.", "More takes more time."),
    "mask_blur": ("Up where the edge is seen, 0 for a hard one.", NOTHING),
    "padding_mask_crop": (
        "For faces and hands in large pictures; 32 to begin with.",
        "Less time for small masks.",
    ),
    "hires_scale": ("1.5 to 2 for pictures larger than the base's own size.", "Time and memory, by area."),
    "hires_steps": ("Down to save time; half of the first pass is often enough.", TIME),
    "hires_strength": (
        "Down when things change in the second pass, up when it stays blurred.",
        "More takes more time.",
    ),
    "hires_upscaler": ("latent is quicker and wants a strength of 0.6.", NOTHING),
    "image_format": (
        "jpeg and webp for small files; png to redraw without a loss.",
        "A png is several times as large.",
    ),
}
"""Occasions to change each field of a request, and the price."""
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

## When to change what

Begin with none of them: kind and base decide, and the plan says why. Change one thing at a time, and keep
the seed. What that does to pictures is shown in the effects atlas, strips with the same seed and what each
took: for [the embedded base](atlas-starter.md), and for [its flow sibling](atlas-starter-flow.md).
"""


def render() -> str:
    """The whole page as Markdown."""
    parts = [INTRODUCTION, *table(ADVICE_HEAD, ADVICE), "", "## Training", ""]
    for group, title in GROUPS.items():
        leaves = [leaf for leaf in config_leaves() if leaf.group == group]
        parts += [
            f"### {title}",
            "",
            *table(SETTING_HEAD, map(_row, leaves)),
            "",
            *_only_here(leaves),
        ]
    parts += ["## Presets", "", *_presets(), "", "## Base models", "", *_bases(), "", "## Making images", ""]
    parts += [*table(REQUEST_HEAD, _request_rows()), ""]
    parts += ["Samplers: " + ", ".join(f"`{name}`" for name in SAMPLERS) + ".", ""]
    return "\n".join(parts)


def _only_here(leaves: list[Leaf]) -> Iterator[str]:
    names = [f"`{leaf.name}`" for leaf in leaves if leaf.name not in {*OPTIONS, *NETWORK_ARGS}]
    if names:
        yield f"No option of that name in sd-scripts: {', '.join(names)}."
        yield ""


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
        yield f"`{name}`", _shown(field.default), kind, field.description or "", *REQUEST_EFFECTS[name]


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
