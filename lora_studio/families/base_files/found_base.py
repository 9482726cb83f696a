"""A base model that was found: where it is, its family, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lora_studio.catalog import Base, base_of_family, distilled
from lora_studio.families.base_files.base_facts import NOTHING_SAID, BaseFacts

OF_DISTILLED = ("num_inference_steps", "guidance_scale", "train_instead")
"""Defaults that distilled bases of a family share."""


@dataclass(frozen=True, kw_only=True)
class FoundBase:
    """`name` is what was asked for; `path_or_id` a folder, a file or a hub id, as `layout` says; `entry` the
    catalog's, if it has one. `family` and `facts` are empty for a hub id that was never fetched."""

    name: str
    path_or_id: str
    family: str
    layout: Literal["folder", "file", "hub"]
    entry: Base | None = None
    facts: BaseFacts = NOTHING_SAID

    @property
    def traits(self) -> Base:
        """The defaults for training and drawing: the catalog's, else those of the family with the base's own
        size."""
        if self.entry is not None:
            return self.entry
        facts = self.facts
        title = Path(self.path_or_id).name if self.layout != "hub" else self.path_or_id
        measures: dict[str, Any] = {"native_size": facts.native_size, "step": facts.step}
        if like := distilled(self.family, title, marked=facts.distilled, heads=facts.heads):
            measures |= {name: getattr(like, name) for name in OF_DISTILLED}
        return base_of_family(self.family, name=self.name, title=title, **measures)

    @property
    def repository(self) -> str:
        """The Hub's repository that it comes from; empty where that isn't known."""
        source = self.path_or_id if self.layout == "hub" else (self.entry.source if self.entry else "")
        return "/".join(source.split("/")[:2])

    @property
    def predicts_velocity(self) -> bool:
        """False as well where it can't be told without loading it."""
        if self.facts.prediction_type or self.entry is None:
            return self.facts.predicts_velocity
        return self.entry.predicts_velocity

    @property
    def zero_snr(self) -> bool:
        """Whether its noise schedule ends in nothing but noise; False as well where it can't be told without
        loading it."""
        if self.facts.prediction_type or self.entry is None:
            return self.facts.zero_snr
        return self.entry.zero_snr
