"""The named endpoints that compare: two trainings, and a LoRA at several weights with its base."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

from lora_studio.errors import ConfigError, StoreError
from lora_studio.grids.strength_request import StrengthRequest
from lora_studio.jobs.comparison.run_comparison import Curve, RunFigures, compare_runs
from lora_studio.lora.strength_report import FOLDER, SHEET, StrengthRow, read_strength, verdicts
from lora_studio.parsing.numbers import shown
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import safe_base, safe_id, safe_slug, text
from lora_studio.ui.endpoints.image_endpoints import session_of_caller
from lora_studio.ui.endpoints.schemas import (
    GenerationStatus,
    ImageFile,
    TrainingStatus,
    generation_status,
    picture_file,
    training_facts,
)
from lora_studio.ui.widgets.setting_labels import LABELS


class ComparedRun(TypedDict):
    """A training; curves are [step, value]."""

    training: TrainingStatus
    device: str
    seconds: float
    seconds_per_step: float | None
    memory_bytes: int
    losses: list[list[float]]
    validation: list[list[float]]
    learning_rates: list[list[float]]


class ComparedSetting(TypedDict):
    """A setting that differs: Kohya's name, the page's label, the value in each training."""

    name: str
    label: str
    first: Any
    second: Any


class ComparedTrainings(TypedDict):
    """Two trainings; `same` counts the settings that both have alike."""

    first: ComparedRun
    second: ComparedRun
    differences: list[ComparedSetting]
    same: int


class StrengthVerdict(TypedDict):
    """`about` is strength, likeness, trigger, neighbours, others or variety; `level` good, mixed or bad."""

    about: str
    level: str
    sentence: str


class StrengthPrompt(TypedDict):
    """A prompt at each weight; see `StrengthRow`."""

    about: str
    prompt: str
    changes: list[float | None]
    pictures: list[ImageFile | None]


class StrengthFacts(TypedDict):
    """A LoRA's strength report; `outdated` where the LoRA's file has changed since."""

    slug: str
    base: str
    seed: int
    weights: list[float]
    verdicts: list[StrengthVerdict]
    prompts: list[StrengthPrompt]
    likeness: list[float | None]
    variety: list[float | None]
    sheet: ImageFile | None
    made_at: float
    outdated: bool


class ComparisonEndpoints:
    """Endpoints that compare. Each public method is one endpoint of the same name."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def compare_trainings(self, first: str, second: str) -> ComparedTrainings:
        """Two trainings side by side: the settings that differ, losses, learning rates, time. They may still
        run.

        Args:
            first: A training's id, from start_training or list_trainings.
            second: Another one's.
        """
        ids = [safe_id(one, "training") for one in (first, second)]
        comparison = compare_runs(self._studio.jobs, self._studio.database, *ids)
        return ComparedTrainings(
            first=_run(comparison.runs[0]),
            second=_run(comparison.runs[1]),
            differences=[
                ComparedSetting(
                    name=pair.name,
                    label=LABELS.get(pair.name, pair.name),
                    first=pair.values[0],
                    second=pair.values[1],
                )
                for pair in comparison.differences
            ],
            same=comparison.same,
        )

    def start_strength_report(
        self, slug: str, base: str = "", noun: str = "", weights: list[float] | None = None
    ) -> GenerationStatus:
        """Queue the drawing of a LoRA's strength report and return at once; list_generations and interrupt
        know its ticket. While one is drawn for this LoRA, that is returned.

        Args:
            slug: From list_loras.
            base: The base model, a name from the catalog or from models/base. Empty: the one of its training.
            noun: What the LoRA's subject is in a word, as dog. Empty: the word in its captions.
            weights: Up to 8 weights from -4 to 4. Empty: 0.4, 0.7, 1 and 1.2.
        """
        if weights is not None and not isinstance(weights, list):
            raise ConfigError(f"weights: a list is needed (got {shown(weights)}).", field="weights")
        checked = safe_base(base, self._studio.settings) if base != "" else ""
        request = StrengthRequest.build(
            safe_slug(slug), base=checked, noun=text(noun, "noun"), weights=weights or ()
        )
        return generation_status(self._studio.submit_strength(request, session=session_of_caller()))

    def strength_report(self, slug: str) -> StrengthFacts:
        """A LoRA's strength report, as start_strength_report has drawn it: verdicts, pictures and
        measurements at each weight.

        Args:
            slug: From list_loras.
        """
        record = self._studio.gallery.lora(safe_slug(slug))
        folder = Path(record.path).parent
        report = read_strength(folder)
        if report is None:
            raise StoreError(
                f"“{record.title}” has no strength report yet.", "Draw one with start_strength_report."
            )
        return StrengthFacts(
            slug=record.slug,
            base=report.base,
            seed=report.seed,
            weights=list(report.weights),
            verdicts=[
                StrengthVerdict(about=one.about, level=one.level, sentence=one.sentence)
                for one in verdicts(report)
            ],
            prompts=[_prompt(row, folder / FOLDER) for row in report.rows],
            likeness=list(report.likeness),
            variety=list(report.variety),
            sheet=_picture(folder / FOLDER / SHEET),
            made_at=report.made_at,
            outdated=report.tensor_hash != record.id,
        )


def _run(run: RunFigures) -> ComparedRun:
    return ComparedRun(
        training=training_facts(run.job),
        device=run.device,
        seconds=run.seconds,
        seconds_per_step=run.seconds_per_step,
        memory_bytes=run.memory_bytes,
        losses=_points(run.losses),
        validation=_points(run.validation),
        learning_rates=_points(run.learning_rates),
    )


def _points(curve: Curve) -> list[list[float]]:
    return [[step, value] for step, value in curve]


def _prompt(row: StrengthRow, folder: Path) -> StrengthPrompt:
    return StrengthPrompt(
        about=row.about,
        prompt=row.prompt,
        changes=list(row.changes),
        pictures=[_picture(folder / name) if name else None for name in row.pictures],
    )


def _picture(path: Path) -> ImageFile | None:
    return picture_file(path) if path.is_file() else None
