"""Checks of sets of pictures that go on by themselves, and the fixes that they offer, for page and API.

A report is found again by the set as it is and by the training that it is meant for: nothing is measured
twice, and after an undo the report from before is there at once.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, on_behalf, visitor
from lora_studio.config_groups import DatasetGroup
from lora_studio.config_groups.dataset_group import Kind as Shown
from lora_studio.dataset import Datasets
from lora_studio.errors import DatasetError, DeviceBusy, NotAllowed, StoreError, StudioError
from lora_studio.events import Emit, Event, PhaseAdvanced, ShouldStop
from lora_studio.files import disk_errors, write_atomically
from lora_studio.jobs.action_locks import ActionLocks
from lora_studio.jobs.failure import bug_of
from lora_studio.parsing.slugs import slug_from
from lora_studio.records import DatasetRecord
from lora_studio.settings import Settings

if TYPE_CHECKING:
    from lora_studio.data.checks.checked_set import CheckedPicture
    from lora_studio.data.checks.dataset_report import DatasetReport
    from lora_studio.data.checks.picture_facts import FactsCache
    from lora_studio.jobs.checking.finding_pictures import FindingPictures

MOST_KEPT, MOST_ACTIVE = 12, 12
"""Ended checks that are remembered, each with the facts of its pictures, and those that may wait."""
SECONDS_BETWEEN = 0.5
"""Between two revisions that tell of no more than progress."""
ReportForm = Literal["html", "json"]


class CheckState(StrEnum):
    """running -> finished | stopped | failed."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class CheckRequest:
    """A set of pictures, and the training that it is checked for; see `options_for`."""

    dataset_id: str
    base: str
    kind: Shown = "object"
    trigger: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SetCheck:
    """A check at one moment. `id` follows from the set as it is and from the training, `head` is the state of
    the set's edits; `done` of `total` pictures are measured (0 of 0 until it `has_turn` and has read them).
    `report` is there in the end, with `shown` for the page, or `error`. `owner` is the visitor who asked
    first."""

    id: str
    request: CheckRequest
    head: str
    owner: str = ""
    state: CheckState = CheckState.RUNNING
    stop_asked: bool = False
    has_turn: bool = False
    done: int = 0
    total: int = 0
    report: DatasetReport | None = None
    base_title: str = ""
    shown: FindingPictures | None = None
    error: StudioError | None = None

    @property
    def active(self) -> bool:
        return self.state is CheckState.RUNNING

    @property
    def may_begin_anew(self) -> bool:
        """Whether no report comes of it, or one on a part of the files."""
        ended = self.state in (CheckState.STOPPED, CheckState.FAILED)
        is_partial = self.report is not None and not self.report.is_whole
        return ended or is_partial or (self.active and self.stop_asked)


class DatasetChecks:
    """The checks of this process, one of them at a time. `revision` changes with anything about them. For
    those who may train. Raises StoreError for a set that isn't there, NotAllowed."""

    def __init__(self, settings: Settings, datasets: Datasets, turns: ActionLocks) -> None:
        self._settings, self._datasets, self._turns = settings, datasets, turns
        self._changed = threading.Condition()
        self._checks: dict[str, SetCheck] = {}
        self._stops: dict[str, threading.Event] = {}
        self._facts: FactsCache | None = None
        self._told = 0.0
        self.revision = 0

    def begin(self, request: CheckRequest, *, anew: bool = False) -> SetCheck:
        """The check of a set as it is now, begun where there is none; with `anew` also where it is or was
        stopped, failed, or wasn't given all files by the disk. Returns at once. One that waits gives way to a
        newer one of the same visitor and set: nobody finds it from then on. Raises DeviceBusy when too many
        wait, ConfigError, ModelFileError."""
        from lora_studio.training.preparation.check_options import pictures_settings

        visitor().needs(Role.TRAINER)
        asked = self._asked(request)
        if asked.id not in self._checks:  # what is wrong with the training is said now, not in the end
            pictures_settings(request.base, self._settings, kind=request.kind, values=request.values)
        with self._changed:
            there = self._checks.get(asked.id)
            if there and not (anew and there.may_begin_anew):
                return there
            self._let_go(request.dataset_id)
            if len(self._stops) >= MOST_ACTIVE:
                raise DeviceBusy("Other sets of pictures are being checked.", "Try again when they are done.")
            self._forget(asked.id)
            stop = threading.Event()
            self._checks[asked.id], self._stops[asked.id] = asked, stop
            ended = [one.id for one in self._checks.values() if not one.active]
            for old in ended[: max(0, len(ended) - MOST_KEPT)]:
                del self._checks[old]
            self._tell()
        run = on_behalf(self._run)
        threading.Thread(target=run, args=(asked, stop), name="dataset-check", daemon=True).start()
        return asked

    def get(self, check_id: str) -> SetCheck:
        """A check of a set that the visitor may see. Raises StoreError."""
        with self._changed:
            check = self._checks.get(check_id)
        if check is None:
            raise StoreError("There is no such check of pictures.", "Check them again.")
        self._datasets.get(check.request.dataset_id)
        return check

    def wait(self, check_id: str, timeout: float | None = None) -> SetCheck:
        """A check once it has ended, or as it is after `timeout` seconds. Raises StoreError."""
        check = self.get(check_id)
        with self._changed:
            self._changed.wait_for(lambda: check_id not in self._stops, timeout)
            return self._checks.get(check_id) or replace(check, state=CheckState.STOPPED)

    def stop(self, check_id: str) -> bool:
        """Stop a check, which takes as long as one picture does; False for one that has ended. What was
        measured is kept. Raises NotAllowed for one that somebody else asked for."""
        check, present = self.get(check_id), visitor()
        if not (present.sees_all or check.owner == present.name):
            raise NotAllowed("Somebody else asked for this check.", "Wait until it is done.")
        with self._changed:
            if check_id not in self._stops:
                return False
            self._stops[check_id].set()
            self._change(check_id, stop_asked=True)
        return True

    def fix(
        self, check_id: str, checks: Collection[str] = (), pictures: Collection[str] = ()
    ) -> DatasetRecord:
        """Mend what a check found, with one entry of the set's edits: `checks` by id (none: those whose fixes
        take nothing away), only where the fix changes one of `pictures` if there are any, by file name or by
        path in the set. Returns the set.
        Raises DatasetError where there is nothing to mend, the check was stopped, or a picture was edited
        since, DeviceBusy before it has ended."""
        from lora_studio.data.checks.dataset_report import WITHOUT_LOSS, chosen_edits

        check = self.get(check_id)
        dataset_id, asked = check.request.dataset_id, checks or WITHOUT_LOSS
        visitor().must_own(Kind.DATASET, dataset_id)
        report = self._report(check_id)
        paths = {one.name for one in report.pictures if PurePosixPath(one.name).name in pictures}
        edits = chosen_edits(report, asked, {*pictures, *paths})
        if not edits:
            raise DatasetError("There is nothing to mend.", "Check the pictures again.")
        names = {edit.picture for edit in edits}
        parts = [part for part in report.parts if part.check.id in asked and names & {*part.pictures}]
        why = ", ".join(part.check.title for part in parts)
        return self._datasets.edit(dataset_id, edits, why, after=check.head)

    def found_in(self, dataset_id: str, check: str) -> list[str]:
        """File names in which a check, by id, found something, after a set's newest report."""
        self._datasets.get(dataset_id)
        with self._changed:
            reports = [
                one.report
                for one in self._checks.values()
                if one.report is not None and one.request.dataset_id == dataset_id
            ]
        parts = reports[-1].parts if reports else ()
        return [
            PurePosixPath(name).name for part in parts if part.check.id == check for name in part.pictures
        ]

    def write_report(self, check_id: str, form: ReportForm) -> Path:
        """Write the report of a check among the uploads, which are cleared by themselves; it is the
        visitor's. Raises DatasetError where the check was stopped, DeviceBusy before it has ended."""
        from lora_studio.data.checks.report_html import report_html

        report, check = self._report(check_id), self.get(check_id)
        name = self._datasets.get(check.request.dataset_id).name
        text = (
            report_html(report, title=name, base=check.base_title)
            if form == "html"
            else json.dumps(report.to_json(), indent=2) + "\n"
        )
        folder = self._settings.uploads / secrets.token_hex(20)
        path = folder / f"{slug_from(name) or 'pictures'}-report.{form}"
        with disk_errors("The report", "written"):
            folder.mkdir(parents=True)
            write_atomically(path, text)
        visitor().claims(Kind.UPLOAD, f"{folder.name}/{path.name}")
        return path

    def close(self) -> None:
        """Ask all to stop."""
        with self._changed:
            for stop in self._stops.values():
                stop.set()

    def _report(self, check_id: str) -> DatasetReport:
        check = self.get(check_id)
        if check.active:  # waiting would hold a thread for minutes
            raise DeviceBusy("These pictures are still being checked.", "Try again when the check has ended.")
        if check.error is not None:
            raise check.error
        if check.report is None:
            raise DatasetError("The check of these pictures was stopped.", "Check them again.")
        return check.report

    def _asked(self, request: CheckRequest) -> SetCheck:
        """A check that is yet to be made of the set as it is, which its id tells apart from others."""
        record = self._datasets.get(request.dataset_id)
        head = self._datasets.edits(record.id).head
        training = [request.base, request.kind, request.trigger, dict(request.values)]
        facts = [record.id, record.created_at, head, training]
        key = json.dumps(facts, sort_keys=True, default=str).encode()
        return SetCheck(
            id=hashlib.sha256(key).hexdigest()[:20], request=request, head=head, owner=visitor().name
        )

    def _let_go(self, dataset_id: str) -> None:
        """Forget the visitor's waiting check of a set: the pictures or the training are others since."""
        waiting = [
            one
            for one in self._checks.values()
            if one.active
            and not one.has_turn  # two who ask in turns would let go each other's for ever
            and (one.request.dataset_id, one.owner) == (dataset_id, visitor().name)
        ]
        for one in waiting:
            self._forget(one.id)

    def _forget(self, check_id: str) -> None:
        """Take a check off the list. Its thread ends when it looks next, and is no longer heard."""
        self._checks.pop(check_id, None)
        if stop := self._stops.pop(check_id, None):
            stop.set()

    def _run(self, asked: SetCheck, stop: threading.Event) -> None:
        ended: dict[str, Any] = {"state": CheckState.STOPPED}
        should_stop = stop.is_set

        def hear(event: Event) -> None:
            if isinstance(event, PhaseAdvanced):
                is_due = time.monotonic() - self._told > SECONDS_BETWEEN
                self._note(asked.id, stop, tell=is_due, done=event.done, total=event.total)

        try:
            with self._turns.take("check", gives_up=False, should_stop=should_stop):
                self._note(asked.id, stop, has_turn=True)
                ended = self._checked(asked.request, hear, should_stop)
        except StudioError as error:
            if not should_stop():
                ended = {"state": CheckState.FAILED, "error": error}
        except Exception as error:  # a thread of its own: nobody else would hear of it
            ended = {"state": CheckState.FAILED, "error": bug_of(error, "a check of pictures")}
        is_there = self._is_there(asked.request.dataset_id)
        with self._changed:
            if self._stops.get(asked.id) is not stop:
                return
            del self._stops[asked.id]
            self._change(asked.id, **ended)
            if not is_there or (
                ended["state"] is CheckState.STOPPED and not self._checks[asked.id].stop_asked
            ):
                del self._checks[asked.id]  # a set that comes back is begun again by itself

    def _is_there(self, dataset_id: str) -> bool:
        try:
            self._datasets.get(dataset_id)
        except StudioError:
            return False
        return True

    def _checked(self, request: CheckRequest, emit: Emit, should_stop: ShouldStop) -> dict[str, Any]:
        from lora_studio.data.checks.dataset_check import check_dataset
        from lora_studio.data.checks.picture_facts import FactsCache
        from lora_studio.jobs.checking.finding_pictures import finding_pictures
        from lora_studio.training.preparation.check_options import options_for

        record = self._datasets.get(request.dataset_id)
        options = options_for(
            request.base, self._settings, kind=request.kind, trigger=request.trigger, values=request.values
        )
        self._facts = self._facts or FactsCache(self._settings.cache / "picture-facts")
        pictures = list(_pictures(record, should_stop))
        report = check_dataset(pictures, options, self._facts, emit, should_stop)
        _check_read(report)
        shown = finding_pictures(report, record, self._settings, should_stop)
        if should_stop():
            return {"state": CheckState.STOPPED}
        return {
            "state": CheckState.FINISHED,
            "report": report,
            "base_title": options.base_title,
            "shown": shown,
        }

    def _note(self, check_id: str, stop: threading.Event, *, tell: bool = True, **facts: Any) -> None:
        """Change a check that goes on, from its own thread; nothing where it is off the list."""
        with self._changed:
            if self._stops.get(check_id) is stop:
                self._change(check_id, tell=tell, **facts)

    def _change(self, check_id: str, *, tell: bool = True, **facts: Any) -> None:
        self._checks[check_id] = replace(self._checks[check_id], **facts)
        if tell:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        self.revision += 1
        self._changed.notify_all()


def _check_read(report: DatasetReport) -> None:
    """Refuse a report where the disk gave no picture at all: it says nothing of the set."""
    if report.pictures and all(one.is_unread for one in report.pictures):
        raise DatasetError(
            f"No picture can be read from the disk. {report.pictures[0].fault}",
            "Check them again when it is there.",
        )


def _pictures(record: DatasetRecord, should_stop: ShouldStop) -> Iterator[CheckedPicture]:
    """The pictures of a set as edited, which takes a while where edited ones are to be rendered."""
    from lora_studio.data.checks.checked_set import pictures_of
    from lora_studio.data.training_set.run_subsets import run_subsets

    folder = Path(record.path)
    found = run_subsets(DatasetGroup(train_data_dir=str(folder))).subsets
    each = {subset.folder: subset for subset in found if not subset.is_reg}  # one may be in several datasets
    for picture in pictures_of(folder, list(each.values())):
        if should_stop():
            return
        yield picture
