"""All checks of a set: its pictures are measured, then each check looks at the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lora_studio.data.checks.caption_checks import CAPTION_CHECKS
from lora_studio.data.checks.checked_set import LONGEST_FAULT, CheckedPicture, CheckedSet, CheckOptions
from lora_studio.data.checks.composition_checks import COMPOSITION_CHECKS
from lora_studio.data.checks.copy_checks import COPY_CHECKS
from lora_studio.data.checks.dataset_findings import DatasetCheck
from lora_studio.data.checks.dataset_report import DatasetReport
from lora_studio.data.checks.picture_checks import PICTURE_CHECKS
from lora_studio.data.checks.picture_facts import FactsCache, PictureFacts
from lora_studio.data.checks.picture_measures import Measured, measure_pictures
from lora_studio.events import Emit, ShouldStop, ignore, never_stop
from lora_studio.files import is_of_disk
from lora_studio.parsing.plain_text import plain_text

CHECKS: tuple[DatasetCheck, ...] = (*PICTURE_CHECKS, *COPY_CHECKS, *CAPTION_CHECKS, *COMPOSITION_CHECKS)


def check_dataset(
    pictures: Sequence[CheckedPicture],
    options: CheckOptions,
    cache: FactsCache,
    emit: Emit = ignore,
    should_stop: ShouldStop = never_stop,
) -> DatasetReport:
    """The report on pictures, measured if need be. Emits PhaseAdvanced. Raises DatasetError when stopped."""
    paths = [picture.path for picture in pictures if not picture.fault]
    measured = dict(zip(paths, measure_pictures(paths, cache, emit, should_stop), strict=True))
    checked = CheckedSet(
        pictures=tuple(_known(picture, measured.get(picture.path)) for picture in pictures), options=options
    )
    findings = [finding for check in CHECKS for finding in check.find(checked)]
    return DatasetReport.of(checked, CHECKS, findings)


def _known(picture: CheckedPicture, measured: Measured | None) -> CheckedPicture:
    """A picture with what was measured, or why it can't be."""
    if picture.fault or measured is None:
        return picture
    if isinstance(measured, PictureFacts):
        return replace(picture, facts=measured)
    fault = plain_text(str(measured), LONGEST_FAULT)
    is_gone = isinstance(measured.__cause__, FileNotFoundError)
    return replace(picture, fault=fault, is_unread=is_of_disk(measured), is_gone=is_gone)
