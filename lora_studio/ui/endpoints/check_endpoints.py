"""The named endpoints of the checks of a set of pictures: made, stopped, mended, reported."""

from __future__ import annotations

from typing import Any, get_args

from lora_studio.config_groups.dataset_group import Kind
from lora_studio.data.checks.dataset_check import CHECKS
from lora_studio.errors import ConfigError
from lora_studio.jobs.checking.dataset_checks import CheckRequest, ReportForm, SetCheck
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import mapping, names, safe_base, safe_id, shown, text, yes_or_no
from lora_studio.ui.endpoints.edit_endpoints import EditEndpoints
from lora_studio.ui.endpoints.inspection_endpoints import ExportedFile
from lora_studio.ui.endpoints.schemas import DatasetCheckStatus, DatasetEdits
from lora_studio.ui.upload.training_summary import DEFAULT_BASE
from lora_studio.ui.widgets.html_templates import file_url
from lora_studio.ui.widgets.settings_form import overrides


class CheckEndpoints:
    """Endpoints of checks. Each public method is one endpoint of the same name."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def check_dataset(
        self,
        dataset_id: str,
        kind: Kind = "object",
        trigger: str = "",
        base: str = DEFAULT_BASE,
        options: dict[str, Any] | None = None,
        anew: bool = False,
    ) -> DatasetCheckStatus:
        """Check a set of pictures for a training, in the background: ask again, without anew, until state is
        no longer running. A set that is checked already is answered at once, and a changed one is checked
        anew. report has grade, points, verdict, advice, and the checks with findings, fixes included.

        Args:
            dataset_id: From upload_dataset or list_datasets.
            kind: What the pictures show.
            trigger: The word that is to call it up; empty: captions are not looked through for it.
            base: The base model, a name from the catalog or from models/base.
            options: Settings of docs/parameters.md that differ from the preset's, as {"resolution": 512}.
            anew: Begin a check once more that was stopped, failed, or wasn't given all files by the disk.
        """
        begins_anew = yes_or_no(anew, "anew")
        request = self._request(dataset_id, kind, trigger, base, options)
        return _status(self._studio.checks.begin(request, anew=begins_anew))

    def stop_check(self, check_id: str) -> bool:
        """Stop a check of pictures that you asked for; what was measured is kept. True if it was running.

        Args:
            check_id: From check_dataset.
        """
        return self._studio.checks.stop(_known(check_id))

    def fix_dataset(
        self, check_id: str, checks: list[str] | None = None, pictures: list[str] | None = None
    ) -> DatasetEdits:
        """Mend what a check of pictures found, all at once or nothing; the set's files stay, and undo_edit
        takes it back. Refused while the check runs, and where somebody edited the same pictures since. A
        picture gets one fix: check again for what else it has. Answers as list_edits does.

        Args:
            check_id: From check_dataset.
            checks: Checks by id, from its report. Empty: those whose fixes take nothing away.
            pictures: Only fixes that change one of these, by file name or path in the set. Empty: all.
        """
        ids = names(checks, "checks")
        every = [check.id for check in CHECKS]
        if unknown := [name for name in ids if name not in every]:
            raise ConfigError(f"checks: there is no check {shown(unknown[0])}.", f"Take {', '.join(every)}.")
        record = self._studio.checks.fix(_known(check_id), ids, names(pictures, "pictures"))
        return EditEndpoints(self._studio).list_edits(record.id)

    def dataset_report(self, check_id: str, form: ReportForm = "html") -> ExportedFile:
        """Write the report of a check of pictures as a file to be fetched: a page with thumbnails, or JSON.
        Refused while the check runs.

        Args:
            check_id: From check_dataset.
            form: html or json.
        """
        if form not in get_args(ReportForm):
            raise ConfigError(f"form: choose html or json (got {shown(form)}).", field="form")
        file = self._studio.checks.write_report(_known(check_id), form)
        size = file.stat().st_size
        return ExportedFile(file=file.name, size_bytes=size, download_url=file_url(file), notes=[])

    def _request(self, dataset_id: Any, kind: Any, trigger: Any, base: Any, options: Any) -> CheckRequest:
        """The request with all values checked. Raises StudioError."""
        if kind not in get_args(Kind):
            kinds = ", ".join(get_args(Kind))
            raise ConfigError(f"kind: choose one of {kinds} (got {shown(kind)}).", field="kind")
        return CheckRequest(
            dataset_id=safe_id(dataset_id, "set of pictures"),
            kind=kind,
            trigger=text(trigger, "trigger"),
            base=safe_base(base, self._studio.settings),
            values=overrides(mapping(options, "options")),
        )


def _known(check_id: Any) -> str:
    return safe_id(check_id, "check of pictures")


def _status(check: SetCheck) -> DatasetCheckStatus:
    return DatasetCheckStatus(
        check_id=check.id,
        dataset_id=check.request.dataset_id,
        state=str(check.state),
        done=check.done,
        total=check.total,
        head=check.head,
        message=str(check.error) if check.error else "",
        report=check.report.to_json() if check.report else None,
    )
