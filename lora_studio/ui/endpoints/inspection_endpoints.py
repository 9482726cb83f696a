"""The named endpoints about LoRA files: what one is, and repaired and merged ones."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, TypedDict, cast

from lora_studio.errors import ConfigError, DeviceBusy, StoreError
from lora_studio.jobs.lora_files.repair_jobs import RepairJob
from lora_studio.lora.inspection.lora_report import LoraReport
from lora_studio.lora.repair.repair_request import MOST_MERGE_RATIO, RepairRequest
from lora_studio.parsing.numbers import read_decimal, shown
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import mapping, safe_base, safe_slug, safe_uploads, text
from lora_studio.ui.endpoints.image_endpoints import session_of_caller
from lora_studio.ui.endpoints.schemas import LoraFacts, LoraWeight, lora_facts
from lora_studio.ui.widgets.html_templates import file_url


class BlockFacts(TypedDict):
    """A block of the base model; see `BlockStrength`."""

    block: str
    layers: int
    ranks: list[int]
    norm: float | None
    relative: float | None


class ProgramFacts(TypedDict):
    """A program's reading of the file; see `ProgramReading`."""

    program: str
    outcome: str
    share: float | None
    why: list[str]


class PrivateFacts(TypedDict):
    """A private thing in the metadata; see `PrivateFact`."""

    key: str
    what: str
    words: str


class SuggestionFacts(TypedDict):
    """A repair that the file has a reason for; see `Suggestion`."""

    fix: str
    reason: str


class LoraInspection(TypedDict):
    """`on_base` is what was measured on a base, null without one."""

    name: str
    what: str
    kinds: dict[str, int]
    family: str
    family_title: str
    here: str
    ranks: dict[str, int]
    alpha: float
    alpha_source: str
    spelling: str
    precision: dict[str, float]
    norm: float | None
    blocks: list[BlockFacts]
    broken: list[str]
    broken_count: int
    zero: list[str]
    zero_count: int
    left_out: str
    left_out_share: float
    training: dict[str, str]
    private: list[PrivateFacts]
    programs: list[ProgramFacts]
    on_base: dict[str, Any] | None
    suggestions: list[SuggestionFacts]
    notes: list[str]


class RepairedLora(TypedDict):
    """A new LoRA of the library, and sentences on what of the old ones was left out."""

    lora: LoraFacts
    notes: list[str]


class RepairStatus(TypedDict):
    """A repair or merge. `status` is running, finished, stopped or failed; `percent` is of its work, `note`
    says what it takes, `message` why it failed; `lora` is null until it has finished."""

    title: str
    status: str
    percent: int
    note: str
    message: str
    lora: LoraFacts | None
    notes: list[str]


class ExportedFile(TypedDict):
    """A LoRA's file to fetch at the address plus download_url, within a day; notes on what was left out."""

    file: str
    size_bytes: int
    download_url: str
    notes: list[str]


class InspectionEndpoints:
    """Endpoints about LoRA files. Each public method is one endpoint of the same name."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def inspect_lora(self, slug: str, base: str = "") -> LoraInspection:
        """Say what a LoRA of the library is: kind, family, ranks, strength by block, broken layers, what its
        metadata tells, and the share of its change that arrives in other programs.

        Args:
            slug: From list_loras.
            base: A base model to measure it on; empty for none.
        """
        return inspection(self._studio.inspector.inspect(safe_slug(slug), self._base(base)))

    def inspect_file(self, files: list[str], base: str = "") -> LoraInspection:
        """Say what a LoRA file is, as inspect_lora does, without taking it into the library.

        Args:
            files: One uploaded .safetensors file; with the Python client, [handle_file(path)].
            base: A base model to measure it on; empty for none.
        """
        paths = safe_uploads(files, self._studio.settings)
        if len(paths) != 1:
            raise StoreError(f"{len(paths)} files were sent.", "Send one .safetensors file.")
        return inspection(self._studio.inspector.inspect_file(paths[0], self._base(base)))

    def repair_lora(self, slug: str, options: dict[str, Any], title: str = "") -> RepairedLora:
        """Make a repaired copy of a LoRA, which comes into the library beside it; the old one stays.

        Args:
            slug: From list_loras.
            options: Any of spelling, save_precision, alpha, new_rank, dynamic_method, dynamic_param,
                strip_private, drop_broken, as {"save_precision": "fp16"}; see docs/lora-files.md.
            title: What to call it; empty for the old title with a word behind it.
        """
        request, name = RepairRequest.from_values(mapping(options, "options")), text(title, "title")
        inspector, session = self._studio.inspector, session_of_caller()
        return self._made(inspector.repair(safe_slug(slug), request, name, session=session))

    def export_lora(self, slug: str, options: dict[str, Any] | None = None) -> ExportedFile:
        """Make a copy of a LoRA's file for another program, to be fetched; the library stays as it is.

        Args:
            slug: From list_loras.
            options: As for repair_lora, as {"spelling": "comfyui", "strip_private": true}; none: as it is.
        """
        request = RepairRequest.from_values(mapping(options, "options"))
        file, notes = self._studio.inspector.export(safe_slug(slug), request)
        size_bytes = file.stat().st_size
        return ExportedFile(file=file.name, size_bytes=size_bytes, download_url=file_url(file), notes=notes)

    def merge_loras(
        self, loras: list[LoraWeight], options: dict[str, Any] | None = None, title: str = ""
    ) -> RepairedLora:
        """Make one LoRA that changes a base as several do together; they stay.

        Args:
            loras: Two or more, each with its ratio as weight, as [{"slug": "ink", "weight": 0.7}, ...].
            options: As for repair_lora; with new_rank or dynamic_method it is resized, else exact.
            title: What to call it; empty for a title made of theirs.
        """
        request, name = RepairRequest.from_values(mapping(options, "options")), text(title, "title")
        inspector, session = self._studio.inspector, session_of_caller()
        return self._made(inspector.merge(_ratios(loras), request, name, session=session))

    def list_repairs(self) -> list[RepairStatus]:
        """List your repairs and merges, newest first: how far those are that repair_lora and merge_loras wait
        for, and what became of the last ended ones."""
        return [
            RepairStatus(
                title=job.title,
                status=str(job.state),
                percent=job.percent,
                note=job.note,
                message=str(job.error) if job.error else "",
                lora=lora_facts(job.lora) if job.lora else None,
                notes=list(job.notes),
            )
            for job in self._studio.inspector.jobs.jobs()
        ]

    def stop_repair(self) -> bool:
        """Stop the repairs and merges of this client; nothing of them is kept. True if there was one."""
        return self._studio.inspector.jobs.stop_all_of(session_of_caller())

    def _made(self, job: RepairJob) -> RepairedLora:
        found = self._studio.inspector.result_of(job)
        if found is None:
            raise DeviceBusy("The repair was stopped.", "Ask for it again.")
        record, notes = found
        return RepairedLora(lora=lora_facts(record), notes=notes)

    def _base(self, given: str) -> str:
        """The base to measure on, checked. Raises ModelFileError."""
        return "" if given == "" else safe_base(given, self._studio.settings)


def inspection(report: LoraReport) -> LoraInspection:
    """The answer about a file: the report's facts, as JSON has them."""
    facts = {name: value for name, value in asdict(report).items() if name in LoraInspection.__annotations__}
    facts["ranks"] = {str(rank): count for rank, count in report.ranks.items()}
    return cast(LoraInspection, json.loads(json.dumps(facts)))


def _ratios(given: Any) -> list[tuple[str, float]]:
    if not isinstance(given, list):
        raise ConfigError(f"loras: a list is needed (got {shown(given)}).", field="loras")
    found = []
    for one in given:
        values = mapping(one, "loras")
        if values.keys() - {"slug", "weight"}:
            raise ConfigError(f"loras: slug and weight are needed (got {shown(one)}).", field="loras")
        ratio = read_decimal(
            values.get("weight", 1.0), "weight", least=-MOST_MERGE_RATIO, most=MOST_MERGE_RATIO
        )
        found.append((safe_slug(values.get("slug")), ratio))
    return found
