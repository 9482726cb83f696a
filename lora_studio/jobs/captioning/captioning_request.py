"""The request for a captioning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from lora_studio.captioning.caption_template import CaptionTemplate
from lora_studio.captioning.captioner import CaptionEngine, engine_of
from lora_studio.captioning.tagger_options import TaggerOptions


@dataclass(frozen=True, kw_only=True)
class CaptioningRequest:
    """An engine for the pictures of a set that have no caption; with `again` also for those whose caption an
    engine wrote. `tagger` counts for an engine that writes tags. `run` marks the captions in the log of
    edits: one that goes on has the mark of what it goes on with, and leaves those captions. `pictures` are
    file names: then these alone get a caption anew, one by hand only with `over_hand`."""

    dataset_id: str
    engine: CaptionEngine
    template: CaptionTemplate = field(default_factory=CaptionTemplate)
    tagger: TaggerOptions = field(default_factory=TaggerOptions)
    again: bool = False
    run: str = ""
    pictures: tuple[str, ...] = ()
    over_hand: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "dataset_id": self.dataset_id,
            "engine": self.engine.name,
            "template": self.template.text,
            "trigger": self.template.trigger,
            "tagger": self.tagger.model_dump(),
            "again": self.again,
            "run": self.run,
            "pictures": [*self.pictures],
            "over_hand": self.over_hand,
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """The request that `to_json` wrote. Raises ConfigError, KeyError."""
        return cls(
            dataset_id=facts["dataset_id"],
            engine=engine_of(facts["engine"]),
            template=CaptionTemplate(text=facts["template"], trigger=facts["trigger"]),
            tagger=TaggerOptions(**facts["tagger"]),
            again=facts["again"],
            run=facts["run"],
            pictures=tuple(facts["pictures"]),
            over_hand=facts["over_hand"],
        )
