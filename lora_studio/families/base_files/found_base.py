"""A base model that was found: where it is, its family, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lora_studio.catalog import Base, base_of_family, distilled, is_undone
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
        size. One that lies in the place of a catalog's is not that if it is distilled and that isn't."""
        facts = self.facts
        if self.entry is not None and (self.entry.train_instead or not facts.distilled):
            return self.entry
        measures: dict[str, Any] = {"native_size": facts.native_size, "step": facts.step}
        if like := self._distilled:
            measures |= {name: getattr(like, name) for name in OF_DISTILLED}
        return base_of_family(self.family, name=self.name, title=self._title, **measures)

    @property
    def doubt(self) -> str:
        """A sentence where neither files nor name tell whether it is distilled; else empty."""
        like = distilled(self.family, "", marked=True, heads=self.facts.heads)
        is_told = self.facts.distilled is not None or self.entry or self._distilled or is_undone(self._title)
        if is_told or not like:
            return ""
        return (
            f"The files of {self._title} don't tell whether it is distilled for few steps, as {like.title} "
            f"is. If it is, take {like.train_instead} for the training: this one would lose that."
        )

    @property
    def _distilled(self) -> Base | None:
        facts = self.facts
        return distilled(self.family, self._title, marked=facts.distilled is True, heads=facts.heads)

    @property
    def _title(self) -> str:
        return Path(self.path_or_id).name if self.layout != "hub" else self.path_or_id

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
        """Whether its noise schedule ends in nothing but noise; False too where only loading it tells."""
        if self.facts.prediction_type or self.entry is None:
            return self.facts.zero_snr
        return self.entry.zero_snr
