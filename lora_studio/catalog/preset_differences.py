"""The differences of a preset and a base from the plain values, each with the reason in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lora_studio.catalog.catalog_base import Base
from lora_studio.catalog.training_presets import FEWEST_STEPS, MOST_STEPS, PRESETS
from lora_studio.config import Kind, config_leaves

FROM_SIZE = "It follows from the size that {base} draws at."
TIMES = "{base} is made for flow matching, and its times are drawn this way."
OF_KINDS: Mapping[Kind, Mapping[str, str]] = {
    "person": {
        "network_dim": "A face has more to it than a thing.",
        "network_alpha": "Half the rank, which the learning rate is chosen for.",
        "text_encoder_lr": "The text encoder learns the face too, gently: other words keep their meaning.",
    },
    "style": {
        "network_dim": "A style shows in many details.",
        "network_alpha": "Half the rank, which the learning rate is chosen for.",
        "network_train_unet_only": "A style lives in the denoiser; the words stay as they are.",
    },
    "object": {
        "network_dim": "A thing has few details and is learned quickly.",
    },
    "character": {
        "network_dim": "A drawn figure has many details: costume, colours, proportions.",
        "network_alpha": "Half the rank, which the learning rate is chosen for.",
        "text_encoder_lr": "The text encoder binds the name to the figure.",
    },
}
"""Reasons of the presets' settings."""
OF_BASES: Mapping[str, str] = {
    "resolution": "{base} draws at this size.",
    "min_bucket_reso": FROM_SIZE,
    "max_bucket_reso": FROM_SIZE,
    "bucket_reso_steps": FROM_SIZE,
    "train_batch_size": "Pictures of this size are small: several fit into one step, which is steadier.",
    "num_repeats": "The pictures that keep the rest of {base} as it was have their turn beside yours.",
    "max_train_steps": "Measured to be enough on {base}.",
    "learning_rate": "A small model needs a higher rate: measured on {base}.",
    "lr_scheduler": "The rate falls towards the end, so that the last steps only polish.",
    "network_dim": "LoRAs for {base} are usually made with this rank.",
    "network_alpha": "It goes with the rank.",
    "network_train_unet_only": "The text encoder stays as it is: less memory, and words keep their meaning.",
    "gradient_checkpointing": "{base} is large: this needs less memory and more time.",
    "mixed_precision": "At this size half precision is no faster.",
    "cpu_data_parallel": "Layers of this size keep no more than one core busy.",
    "sample_guidance": "{base} draws best with this guidance.",
    "sample_steps": "{base} draws a preview in this number of steps.",
    "guidance_scale": "{base} is told this guidance while it learns.",
    "timestep_sampling": TIMES,
    "discrete_flow_shift": TIMES,
    "sigmoid_scale": TIMES,
    "weighting_scheme": TIMES,
    "model_prediction_type": TIMES,
}
"""Reasons of the settings that bases bring, with their titles for `{base}`."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A setting whose value is not the plain one, and why."""

    name: str
    value: Any
    plain: Any
    reason: str


def differences(kind: Kind, base: Base, values: Mapping[str, Any]) -> tuple[Difference, ...]:
    """The differences of `plan`'s values from the plain ones, in the order of the settings."""
    of_base = {**base.training, **base.kinds.get(kind, {})}
    found = []
    for leaf in config_leaves():
        value = values.get(leaf.name, leaf.default)
        if leaf.name == "kind" or value == leaf.default:
            continue
        reason = OF_KINDS[kind].get(leaf.name, "")
        if leaf.name in of_base:
            reason = OF_BASES.get(leaf.name, "").format(base=base.title or base.name)
        elif leaf.name == "max_train_steps":
            reason = _step_rule(kind)
        found.append(Difference(name=leaf.name, value=value, plain=leaf.default, reason=reason))
    return tuple(found)


def _step_rule(kind: Kind) -> str:
    preset = PRESETS[kind]
    return f"{preset.per_image} steps for each picture, at least {FEWEST_STEPS} and at most {MOST_STEPS}."
