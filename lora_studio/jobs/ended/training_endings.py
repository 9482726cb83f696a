"""The listeners to the ends of trainings."""

from __future__ import annotations

import logging
from collections.abc import Callable

from lora_studio.records import JobRecord

logger = logging.getLogger(__name__)

Listener = Callable[[JobRecord], object]


class TrainingEndings:
    """The listeners to each training that has left a LoRA, called in the order in which they were added, in
    the thread that trains: the next training begins after the last of them. A failure of one is logged, and
    the others are called."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def add(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def __call__(self, job: JobRecord) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(job)
            except Exception:  # the worker: the training is done, whatever its listeners do
                logger.exception("after the training %s", job.id)
