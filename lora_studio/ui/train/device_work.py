"""Other work than trainings that takes the device, below the line of trainings: captions that are written."""

from __future__ import annotations

from lora_studio.jobs.captioning.captioning_state import CaptioningState
from lora_studio.studio import Studio
from lora_studio.ui.widgets.html_templates import fill

MOST_SHOWN = 8


def captionings(studio: Studio) -> str:
    """HTML of the captionings that run, wait or were interrupted; empty without any."""
    found = studio.captionings.unfinished()
    rows = [
        {
            "name": name,
            "job": job,
            "state": str(job.state),
            "is_interrupted": job.state is CaptioningState.INTERRUPTED,
        }
        for name, job in found[:MOST_SHOWN]
    ]
    return fill("device_work", rows=rows) if rows else ""
