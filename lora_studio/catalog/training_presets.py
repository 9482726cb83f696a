"""Settings for kinds of subjects: readable differences from the plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lora_studio.catalog.base_models import is_embedded
from lora_studio.catalog.catalog_base import Base
from lora_studio.config import Kind


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings for a kind of subject: leaf values of TrainConfig, steps for each picture, a note."""

    kind: Kind
    values: Mapping[str, Any]
    per_image: int
    note: str


PRESETS: Mapping[str, Preset] = {
    preset.kind: preset
    for preset in (
        Preset(
            kind="person",
            per_image=75,
            note="A face needs the text encoder, gently.",
            values={"network_dim": 16, "network_alpha": 8, "text_encoder_lr": 1e-5},
        ),
        Preset(
            kind="style",
            per_image=120,
            note="A style lives in the denoiser; the words stay as they are.",
            values={"network_dim": 16, "network_alpha": 8, "network_train_unet_only": True},
        ),
        Preset(
            kind="object",
            per_image=50,
            note="A thing is learned quickly.",
            values={"network_dim": 8, "network_alpha": 4},
        ),
        Preset(
            kind="character",
            per_image=180,
            note="A drawn character needs many looks at few pictures.",
            values={"network_dim": 16, "network_alpha": 8, "text_encoder_lr": 5e-5},
        ),
    )
}
ADVISED_PICTURES = "10 to 30"
"""Number of pictures that is enough for any kind."""
FEWEST_STEPS, MOST_STEPS = 500, 1500
YES = {"true", "1", "yes", "on", "y", "t"}
"""Texts of a switch that is on."""


@dataclass(frozen=True, kw_only=True)
class PresetValues:
    """The leaf values for a kind, a base and a number of pictures, and the reason in a sentence."""

    values: Mapping[str, Any]
    reason: str


def plan(kind: Kind, base: Base, images: int, chosen: Mapping[str, Any] | None = None) -> PresetValues:
    """Leaf values of TrainConfig that suit `images` pictures of a `kind` on a base. Later entries win:
    preset, step rule, base, base for this kind. `chosen`, the person's own settings, are part of the reason,
    but not of the values. A part that isn't trained gets no learning rate, which would only be noted as
    ignored."""
    preset, chosen = PRESETS[kind], chosen or {}
    base_values = {**base.training, **base.kinds.get(kind, {})}
    values = {"kind": kind, **preset.values, "max_train_steps": _steps(preset, images), **base_values}
    note = preset.note
    if str({**values, **chosen}.get("network_train_unet_only")).lower() in YES:
        note = note if "text_encoder_lr" not in values else ""
        values.pop("text_encoder_lr", None)
    reason = _own_reason({**values, **chosen}, chosen, base.title if "max_train_steps" in base_values else "")
    reason = reason or (
        f"{preset.per_image} steps for each of {images} pictures, at least {FEWEST_STEPS} and at most "
        f"{MOST_STEPS}: {values['max_train_steps']} steps."
    )
    return PresetValues(values=values, reason=f"{reason} {note}".strip())


def _steps(preset: Preset, images: int) -> int:
    return min(MOST_STEPS, max(FEWEST_STEPS, preset.per_image * images))


def _own_reason(values: Mapping[str, Any], chosen: Mapping[str, Any], measured_on: str) -> str:
    """The reason of a number of steps that follows from no rule; empty for one that does."""
    batch = values.get("train_batch_size", 1)
    steps = f"{values['max_train_steps']} steps" + (f" of {batch} pictures" if str(batch) != "1" else "")
    if "max_train_steps" in chosen:
        return f"{steps}, as you set."
    if not measured_on:
        return ""
    return (
        f"{steps}." if "train_batch_size" in chosen else f"{steps}: measured to be enough on {measured_on}."
    )


def result_prompts(kind: Kind, trigger: str, base: str) -> tuple[str, ...]:
    """Prompts for the first pictures with a new LoRA: others than those of the previews."""
    word = trigger.strip() or "picture"
    if is_embedded(base):
        if kind == "style":
            return (f"dog, {word} style", f"tree, {word} style", f"house, {word} style")
        return tuple(f"a {word} on a {colour} background" for colour in ("blue", "yellow", "white"))
    if kind == "style":
        return (
            f"a lighthouse by the sea, {word} style",
            f"a dog running in the snow, {word} style",
            f"an old street at night, {word} style",
        )
    if kind in {"person", "character"}:
        return (f"{word} in front of mountains", f"close-up of {word}", f"{word} walking through a city")
    return (f"{word} in the grass", f"{word} on a white background", f"{word} on a shelf beside books")


def preview_prompts(kind: Kind, trigger: str, base: str) -> tuple[str, ...]:
    """Prompts about the user's own subject, for the previews; on an embedded base with words it knows."""
    word = trigger.strip() or "picture"
    if is_embedded(base):
        if kind == "style":
            return (f"cat, {word} style", f"rocket, {word} style", f"castle, {word} style")
        return (f"a {word}", f"a {word} on a pink background", f"a {word} on a green background")
    if kind == "style":
        return (
            f"a cat on a windowsill, {word} style",
            f"a mountain village, {word} style",
            f"portrait, {word} style",
        )
    if kind in {"person", "character"}:
        return (f"portrait of {word}", f"{word} in a forest", f"{word} reading in a café")
    return (f"a photo of {word}", f"{word} on a wooden table", f"{word} on a beach")
