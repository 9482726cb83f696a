"""The named endpoints of captionings: pictures without a caption get one from a model, in the background."""

from __future__ import annotations

from typing import Any, TypedDict

from lora_studio.captioning.caption_template import LONGEST_TEMPLATE, PLAIN_TEMPLATE, CaptionTemplate
from lora_studio.captioning.captioner import engine_of
from lora_studio.captioning.tagger_options import TaggerOptions
from lora_studio.jobs.captioning.captioning_request import CaptioningRequest
from lora_studio.jobs.captioning.captioning_state import Captioning
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import mapping, names, safe_id, text, yes_or_no

LONGEST_TRIGGER, MOST_TOLD = 64, 500


class CaptioningStatus(TypedDict):
    """A captioning. `state` is running, finished, stopped, failed or interrupted (the studio ended meanwhile;
    start_captioning goes on with the pictures that have no caption); `done` of `total` pictures are looked
    at, `captioned` is the number of captions that are kept; `failed` (by file, with the reason) is known once
    it has ended; `note` says how long it takes still, `waits_for` who has the device meanwhile (training,
    generation, ...; captions: another set comes first), `message` why it failed."""

    dataset_id: str
    engine: str
    state: str
    done: int
    total: int
    note: str
    waits_for: str
    captioned: int
    failed: dict[str, str]
    message: str


class CaptioningEndpoints:
    """Endpoints of captionings. Each public method is one endpoint of the same name."""

    def __init__(self, studio: Studio) -> None:
        self._jobs = studio.captionings

    def start_captioning(
        self,
        dataset_id: str,
        engine: str,
        trigger: str = "",
        template: str = PLAIN_TEMPLATE,
        again: bool = False,
        tagger: dict[str, Any] | None = None,
        pictures: list[str] | None = None,
    ) -> CaptioningStatus:
        """Let a model caption the pictures of a set that have no caption, and return at once; ask
        captioning_status how it goes. A caption by hand is never written over; undo_edit takes the new ones
        back.

        Args:
            dataset_id: From upload_dataset or list_datasets.
            engine: starter, blip, florence2 or wd14; the models of all but the first have to be on the
                studio's machine.
            trigger: The {trigger} of the template.
            template: What becomes of a caption; {caption} has to be in it.
            again: Write those anew, too, that an engine wrote.
            tagger: What wd14 writes, under sd-scripts' names: general_threshold, character_threshold (both
                0.35), remove_underscore, character_tags_first (both true), use_rating_tags (false),
                undesired_tags, caption_separator.
            pictures: Only these, by file name, and anew. One whose caption was written by hand is refused.
        """
        wanted = CaptionTemplate(
            text=text(template, "template", longest=LONGEST_TEMPLATE),
            trigger=text(trigger, "trigger", longest=LONGEST_TRIGGER).strip(),
        )
        request = CaptioningRequest(
            dataset_id=_set_id(dataset_id),
            engine=engine_of(text(engine, "engine")),
            template=wanted,
            tagger=TaggerOptions(**mapping(tagger, "tagger")),
            again=yes_or_no(again, "again"),
            pictures=tuple(names(pictures, "pictures")),
        )
        return _facts(self._jobs.begin(request))

    def captioning_status(self, dataset_id: str) -> CaptioningStatus:
        """Say how far the last captioning of a set is, or how it ended.

        Args:
            dataset_id: From upload_dataset or list_datasets.
        """
        return _facts(self._jobs.get(_set_id(dataset_id)))

    def stop_captioning(self, dataset_id: str) -> bool:
        """Stop the captioning of a set after the pictures at hand; its captions stay. True if there was one.

        Args:
            dataset_id: From upload_dataset or list_datasets.
        """
        return self._jobs.stop(_set_id(dataset_id))


def _set_id(dataset_id: Any) -> str:
    return safe_id(dataset_id, "set of pictures")


def _facts(job: Captioning) -> CaptioningStatus:
    return CaptioningStatus(
        dataset_id=job.request.dataset_id,
        engine=job.request.engine.name,
        state=str(job.state),
        done=job.done,
        total=job.total,
        note=job.note,
        waits_for=job.waits_for,
        captioned=job.captioned,
        failed=dict(list(job.failed.items())[:MOST_TOLD]),
        message=str(job.error) if job.error else "",
    )
