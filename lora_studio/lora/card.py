"""The model card of a trained LoRA: what it is, what it was made from, how to use it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lora_studio.config import TrainConfig

SETTINGS = (
    *("max_train_steps", "train_batch_size", "gradient_accumulation_steps", "resolution", "network_dim"),
    *(
        "network_alpha",
        "learning_rate",
        "unet_lr",
        "text_encoder_lr",
        "network_train_unet_only",
        "lr_scheduler",
    ),
    *("min_snr_gamma", "noise_offset", "seed", "save_precision"),
)


def write_card(
    config: TrainConfig,
    *,
    base: str,
    base_id: str,
    licence: str,
    images: int,
    steps: int,
    previews: Sequence[tuple[str, str, str]],
) -> str:
    """Markdown with the front matter of the Hugging Face Hub. `base_id` is the hub id, if there is one;
    `previews` are (prompt, picture without, picture with the LoRA), paths relative to the card."""
    title = _line(config.output.title or config.output.output_name)
    trigger = config.dataset.trigger_word
    words = f"Write `{trigger}` in the prompt." if trigger else "It has no trigger word."
    values = config.values()
    rows = [f"| `{name}` | {'' if values[name] is None else values[name]} |" for name in SETTINGS]
    return "\n".join(
        [
            *_front_matter(title, trigger, base_id),
            f"# {title}",
            "",
            f"A LoRA for {base_id or base}: {config.dataset.kind}, trained for {steps} steps on {images} "
            f"picture{'' if images == 1 else 's'} with LoRA Studio. {words}",
            "",
            *_preview_table(previews),
            "## Use",
            "",
            *_usage(config, base_id or f"path/to/{base}", trigger),
            "",
            "## Licence",
            "",
            f"The base model's licence applies to what is made with it: {licence or 'see the base model'}. "
            "The rights in the training pictures are their owners'.",
            "",
            "## Settings",
            "",
            "| setting | value |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _front_matter(title: str, trigger: str, base_id: str) -> list[str]:
    base = [f"base_model: {base_id}"] if base_id else []
    word = [f"instance_prompt: {json.dumps(trigger)}"] if trigger else []
    tags = ["tags:", "- lora", "- diffusers", "- text-to-image", "- stable-diffusion"]
    return ["---", f"title: {json.dumps(title)}", "library_name: diffusers", *base, *word, *tags, "---", ""]


def _preview_table(previews: Sequence[tuple[str, str, str]]) -> list[str]:
    if not previews:
        return []
    rows = [
        f"| {_line(prompt)} | ![without]({before}) | ![with]({after}) |" for prompt, before, after in previews
    ]
    return ["| prompt | without | with the LoRA |", "|---|---|---|", *rows, ""]


def _usage(config: TrainConfig, base: str, trigger: str) -> list[str]:
    network = config.network
    if network.is_plain:
        return [
            *_snippet(base, trigger),
            "",
            "The file also works as it is in A1111, Forge, ComfyUI and InvokeAI.",
        ]
    kind = f"{network.algo}, DoRA" if network.dora_wd else network.algo
    return [
        f"The file is of LyCORIS' kind {kind}: it works as it is in LoRA Studio, A1111, Forge and ComfyUI. "
        "diffusers can't read it."
    ]


def _snippet(base: str, trigger: str) -> list[str]:
    return [
        "```python",
        "from diffusers import DiffusionPipeline",
        "",
        f"pipe = DiffusionPipeline.from_pretrained({base!r})",
        'pipe.load_lora_weights("path/to/this/folder")',
        f"image = pipe({(trigger or 'your prompt')!r}).images[0]",
        "```",
    ]


def _line(text: str) -> str:
    """Text that can't break a table or a heading."""
    return " ".join(text.split()).replace("|", "\\|")
