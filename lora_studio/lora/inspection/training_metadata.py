"""The training of a file by its metadata, as lines for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lora_studio.formatting import moment
from lora_studio.parsing.plain_text import number, plain_text

LONGEST_LINE, MOST_TAGS = 160, 12
LINES: tuple[tuple[str, str], ...] = (
    ("title", "modelspec.title"),
    ("trigger phrase", "modelspec.trigger_phrase"),
    ("written by", "modelspec.implementation"),
    ("trainer", "modelspec.implementation_version"),
    ("base", "ss_sd_model_name"),
    ("base version", "ss_base_model_version"),
    ("architecture", "modelspec.architecture"),
    ("network", "ss_network_module"),
    ("network_dim", "ss_network_dim"),
    ("network_alpha", "ss_network_alpha"),
    ("network_args", "ss_network_args"),
    ("optimizer", "ss_optimizer"),
    ("learning rate", "ss_learning_rate"),
    ("denoiser's rate", "ss_unet_lr"),
    ("text encoder's rate", "ss_text_encoder_lr"),
    ("schedule", "ss_lr_scheduler"),
    ("steps", "ss_steps"),
    ("epochs", "ss_num_epochs"),
    ("batch", "ss_total_batch_size"),
    ("resolution", "ss_resolution"),
    ("pictures with repeats", "ss_num_train_images"),
    ("precision", "ss_mixed_precision"),
    ("clip skip", "ss_clip_skip"),
    ("noise offset", "ss_noise_offset"),
    ("min_snr_gamma", "ss_min_snr_gamma"),
    ("seed", "ss_seed"),
    ("comment", "ss_training_comment"),
    ("licence", "modelspec.license"),
)
"""(words for people, key of Kohya's or of Stability's model specification)"""
LATEST = 1e11


def training_lines(metadata: Mapping[str, str]) -> dict[str, str]:
    """Facts of the training by their words for people; empty for a file that says nothing."""
    found = {
        words: line
        for words, key in LINES
        if (line := plain_text(metadata.get(key), LONGEST_LINE)) not in ("", "None")
    }
    if finished := number(metadata.get("ss_training_finished_at"), most=LATEST):
        found["finished"] = _when(finished)
    if tags := _tags(metadata.get("ss_tag_frequency", "")):
        found["tags"] = tags
    return found


def _when(seconds: float) -> str:
    try:
        datetime.fromtimestamp(seconds)
    except (ValueError, OverflowError, OSError):
        return ""
    return moment(seconds)


def _tags(text: str) -> str:
    """The most frequent tags of all folders, with their counts."""
    try:
        folders: Any = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return ""
    counts = Counter[str]()
    for tags in folders.values() if isinstance(folders, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int) and 0 < count < LATEST:
                counts[plain_text(tag, 40)] += count
    return ", ".join(f"{tag} ({count})" for tag, count in counts.most_common(MOST_TAGS) if tag)
