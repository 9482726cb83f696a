"""The training that the pictures on Upload are checked for, as far as it is typed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, get_args

from lora_studio.catalog import STARTER
from lora_studio.config_groups.dataset_group import Kind
from lora_studio.errors import ConfigError, StoreError
from lora_studio.jobs.checking.dataset_checks import CheckRequest
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import safe_base, safe_id, text, whole

CHECKED = ("resolution", "train_batch_size", "max_token_length")
"""Settings that decide what is wrong with a picture or a caption."""
SETS_REMEMBERED = 64


class CheckSubjects:
    """The requests for checks, from what the browser sends. The trigger word follows from all captions of a
    set, so it is remembered for a state of them."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._triggers = lru_cache(maxsize=SETS_REMEMBERED)(self._made_trigger)

    def request(self, values: Sequence[Any]) -> CheckRequest | None:
        """The request from the values of `UploadTab.checked`; None without pictures. What is half typed is
        left out. Raises StoreError for a set that is gone, ModelFileError."""
        dataset_id, kind, name, trigger, base, *settings = values
        if not dataset_id:
            return None
        record = self._studio.datasets.get(safe_id(dataset_id, "set of pictures"))
        typed: dict[str, int | None] = {}
        for setting, value in zip(CHECKED, settings, strict=True):
            with contextlib.suppress(ConfigError):
                typed[setting] = whole(value, setting)
        head = self._studio.datasets.edits(record.id).head
        word = text(trigger, "trigger").strip() or self._triggers(
            record.id, f"{record.created_at} {head}", text(name, "name")
        )
        return CheckRequest(
            dataset_id=record.id,
            base=safe_base(base or STARTER.name, self._studio.settings),
            kind=next((one for one in get_args(Kind) if one == kind), "object"),
            trigger=word,
            values={setting: number for setting, number in typed.items() if number is not None},
        )

    def _made_trigger(self, dataset_id: str, _state: str, name: str) -> str:
        try:
            return self._studio.trainings.trigger_for(dataset_id, name) if name.strip() else ""
        except (ConfigError, StoreError):
            return ""
