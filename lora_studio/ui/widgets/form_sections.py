"""Sections of the settings form: the settings that the page shows, under their headings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lora_studio.config import Leaf, config_leaves

SET_ELSEWHERE = frozenset(
    {
        "pretrained_model_name_or_path",
        "train_data_dir",
        "dataset_version",
        "kind",
        "trigger_word",
        "output_name",
        "output_dir",
        "title",
        "caption_extension",  # uploads are stored with one ending
    }
)
"""Settings that follow from pictures, kind and name. A client must not set them: some are paths."""
WITHOUT_EFFECT = frozenset(
    {"base_weights_multiplier", "dim_from_weights", "masked_loss", "prior_loss_weight"}
)
"""Settings that do nothing without a file that only the command line can name."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with its settings: the group's that match `pattern`; empty: all that are left."""

    name: str
    title: str
    group: str
    pattern: str = ""


SECTIONS = (
    Section(name="model", title="Base model", group="model"),
    Section(name="captions", title="Captions", group="dataset", pattern=r"caption|token|separator|wildcard"),
    Section(name="validation", title="Validation", group="dataset", pattern=r"^validation_"),
    Section(name="caches", title="Caches", group="dataset", pattern=r"^cache_|^vae_"),
    Section(name="dataset", title="Pictures", group="dataset"),
    Section(
        name="networks",
        title="Other kinds of networks",
        group="network",
        pattern=r"^(algo|dora_wd|wd_on_output|factor|decompose_both|full_matrix|constraint)$",
    ),
    Section(name="blocks", title="Block by block", group="network", pattern=r"block|lr_weight|^loraplus"),
    Section(name="network", title="LoRA", group="network"),
    Section(name="schedule", title="Course of the learning rate", group="optimizer", pattern=r"^lr_"),
    Section(name="optimizer", title="Learning", group="optimizer"),
    Section(name="loss", title="Loss", group="noise", pattern=r"loss|huber|snr_gamma"),
    Section(name="noise", title="Noise", group="noise"),
    Section(name="validating", title="Validation", group="preview", pattern=r"^validat|^max_validation"),
    Section(name="preview", title="Previews", group="preview"),
    Section(name="output", title="File", group="output"),
    Section(name="run", title="Where it runs", group="run"),
)
"""Sections in the order in which a setting is sorted in; the first that fits takes it."""
ORDER = (
    *("model", "dataset", "captions", "network", "networks", "blocks", "optimizer", "schedule", "noise"),
    *("loss", "preview", "validation", "validating", "output", "caches", "run"),
)
"""Names of sections in the order of the page."""
TOGETHER: Mapping[str, str] = {"validating": "validation"}
"""Sections whose settings stand in another one, since they come from two groups."""


def is_out_of_reach(leaf: Leaf) -> bool:
    """Whether no visitor may set a setting: it names a path or code to run, or follows from other inputs."""
    return leaf.local or leaf.name in SET_ELSEWHERE


def shown_leaves(*, basic: bool) -> tuple[Leaf, ...]:
    return tuple(
        leaf
        for leaf in config_leaves()
        if leaf.basic == basic and not is_out_of_reach(leaf) and leaf.name not in WITHOUT_EFFECT
    )


def sectioned_leaves() -> dict[Section, list[Leaf]]:
    """The settings that are not basic ones, under their headings, in the order of the page."""
    by_name = {section.name: section for section in SECTIONS}
    found: dict[str, list[Leaf]] = {name: [] for name in ORDER}
    for leaf in shown_leaves(basic=False):
        section = next(
            one for one in SECTIONS if one.group == leaf.group and re.search(one.pattern, leaf.name)
        )
        found[TOGETHER.get(section.name, section.name)].append(leaf)
    return {by_name[name]: leaves for name, leaves in found.items() if leaves}


def folds_of(name: str) -> tuple[str, ...] | None:
    """Ids of the sections that fold a setting's field; empty for one in sight, None without a field."""
    if any(leaf.name == name for leaf in shown_leaves(basic=True)):
        return ()
    for section, leaves in sectioned_leaves().items():
        if any(leaf.name == name for leaf in leaves):
            return (f"train-advanced-{section.name}",)
    return None
