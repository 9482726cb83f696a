"""The request for a captioning."""

from __future__ import annotations

from dataclasses import dataclass, field

from lora_studio.captioning.caption_template import CaptionTemplate
from lora_studio.captioning.captioner import CaptionEngine
from lora_studio.captioning.tagger_options import TaggerOptions


@dataclass(frozen=True, kw_only=True)
class CaptioningRequest:
    """An engine for the pictures of a set that have no caption; with `again` also for those whose caption an
    engine wrote. `tagger` counts for an engine that writes tags."""

    dataset_id: str
    engine: CaptionEngine
    template: CaptionTemplate = field(default_factory=CaptionTemplate)
    tagger: TaggerOptions = field(default_factory=TaggerOptions)
    again: bool = False
