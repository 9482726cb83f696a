"""The named endpoints: the page's actions, for scripts. Types and docstrings become their documentation."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

import gradio as gr

from lora_studio.errors import ConfigError, DatasetError, DeviceBusy, StudioError
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.client_input.validate import (
    guarded,
    mapping,
    safe_base,
    safe_id,
    safe_slug,
    safe_uploads,
    shown,
    text,
    whole,
    yes_or_no,
)
from lora_studio.ui.endpoints.caption_endpoints import CaptionEndpoints
from lora_studio.ui.endpoints.captioning_endpoints import CaptioningEndpoints
from lora_studio.ui.endpoints.card_endpoints import CardEndpoints
from lora_studio.ui.endpoints.check_endpoints import CheckEndpoints
from lora_studio.ui.endpoints.comparison_endpoints import ComparisonEndpoints
from lora_studio.ui.endpoints.edit_endpoints import EditEndpoints
from lora_studio.ui.endpoints.image_endpoints import ImageEndpoints
from lora_studio.ui.endpoints.inspection_endpoints import InspectionEndpoints
from lora_studio.ui.endpoints.library_endpoints import LibraryEndpoints
from lora_studio.ui.endpoints.operations_endpoints import OperationsEndpoints
from lora_studio.ui.endpoints.schemas import (
    PlannedTraining,
    TrainingStatus,
    UploadedDataset,
    UsedCheckpoint,
    planned_training,
    training_facts,
)
from lora_studio.ui.upload.setup_panel import KINDS
from lora_studio.ui.upload.training_summary import DEFAULT_BASE
from lora_studio.ui.widgets.settings_form import overrides

AT_ONCE = 8
"""Calls that wait in the queue together; they are drawn one after another."""
KindName = Literal["person", "style", "object", "character"]


class Endpoints:
    """Endpoints of trainings. Each public method is one endpoint of the same name."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def upload_dataset(self, files: list[str], name: str = "Pictures") -> UploadedDataset:
        """Store pictures to train on; ZIPs are unpacked, .txt and .caption files are captions.

        Args:
            files: The uploaded files; with the Python client, a list of handle_file(path).
            name: What to call the set.

        Returns:
            The set's id, the number of pictures and of captions, a sentence for each file that was left
            out, and warnings.
        """
        paths = safe_uploads(files, self._studio.settings)
        if not paths:
            raise DatasetError("There are no pictures to store.", "Send at least one.")
        title = text(name, "name") or "Pictures"
        with self._studio.turns.take("upload"):
            record = self._studio.datasets.create(title, paths)
        return UploadedDataset(
            dataset_id=record.id,
            images=record.images,
            captions=record.captions,
            refused=list(record.refused),
            warnings=list(record.warnings),
        )

    def start_training(
        self,
        dataset_id: str,
        name: str,
        kind: KindName,
        trigger: str = "",
        base: str = DEFAULT_BASE,
        options: dict[str, Any] | None = None,
    ) -> TrainingStatus:
        """Queue a training and return at once; ask training_status how it goes.

        Args:
            dataset_id: From upload_dataset.
            name: The LoRA's name; its slug is made from it.
            kind: What the pictures show; it picks the preset.
            trigger: The word that calls the subject up. Empty: made from the name.
            base: The base model, a name from the catalog or from models/base.
            options: Any setting of docs/parameters.md by name, as {"max_train_steps": 300}.
        """
        given = StartTraining(dataset_id=dataset_id, name=name, kind=kind, trigger=trigger, base=base)
        return training_facts(self._studio.trainings.start(self._checked(given, options)))

    def plan_training(
        self,
        dataset_id: str,
        kind: KindName,
        trigger: str = "",
        base: str = DEFAULT_BASE,
        options: dict[str, Any] | None = None,
    ) -> PlannedTraining:
        """Measure what start_training would take, with a few real steps: time, memory, disk. Nothing is kept.

        Args:
            dataset_id: From upload_dataset.
            kind: What the pictures show; it picks the preset.
            trigger: The word that calls the subject up.
            base: The base model, a name from the catalog or from models/base.
            options: Any setting of docs/parameters.md by name, as {"max_train_steps": 300}.
        """
        given = StartTraining(dataset_id=dataset_id, name="Plan", kind=kind, trigger=trigger, base=base)
        trainings = self._studio.trainings
        plan = trainings.measure(trainings.config(self._checked(given, options)))
        if plan is None:
            raise DeviceBusy("The measurement was stopped.", "Try again.")
        return planned_training(plan)

    def use_checkpoint(self, slug: str, step: int) -> UsedCheckpoint:
        """Make a checkpoint of a training the LoRA's file; the same call with `before` is the way back.

        Args:
            slug: From list_loras.
            step: A checkpoint's step; training.json and the page's board list them.
        """
        if (wanted := whole(step, "step")) is None:
            raise ConfigError("step: a number is needed.", field="step")
        return UsedCheckpoint(
            step=wanted, before=self._studio.gallery.use_checkpoint(safe_slug(slug), wanted)
        )

    def training_status(self, job_id: str) -> TrainingStatus:
        """The state of a training: status (queued, running, stopping, pausing, paused, finished, failed,
        stopped or interrupted), progress in percent, step, loss, seconds left, the step it can be resumed
        from (null if it can't), and lora_slug once there is a result.

        Args:
            job_id: From start_training.
        """
        job = self._studio.jobs.get(safe_id(job_id, "training"))
        found = training_facts(job)
        if found["lora_slug"] and not job.status.active:
            # The library hears of it a moment later; who is told that it is finished may ask for it at once.
            with suppress(StudioError):
                self._studio.gallery.lora(found["lora_slug"])
        return found

    def stop_training(self, job_id: str) -> TrainingStatus:
        """Stop a training within a step; what it has learned so far is kept as a LoRA.

        Args:
            job_id: From start_training.
        """
        job = self._studio.jobs.get(safe_id(job_id, "training"))
        return training_facts(self._studio.jobs.stop(job.id))

    def pause_training(self, job_id: str) -> TrainingStatus:
        """Pause a training within a step: it lets go of the device and keeps all it needs to go on.

        Args:
            job_id: From start_training.
        """
        return training_facts(self._studio.jobs.pause(self._job(job_id)))

    def resume_training(self, job_id: str, as_new_run: bool = False) -> TrainingStatus:
        """Let a paused, stopped, failed or interrupted training go on where its last state is. Its result is
        the one that it would have had without the break.

        Args:
            job_id: From start_training.
            as_new_run: Instead, start a new training with the same settings that begins with its weights.
        """
        jobs = self._studio.jobs
        begin = jobs.fork if yes_or_no(as_new_run, "as_new_run") else jobs.resume
        return training_facts(begin(self._job(job_id)))

    def save_now(self, job_id: str) -> TrainingStatus:
        """Write a checkpoint of a running training after the step at hand.

        Args:
            job_id: From start_training.
        """
        return training_facts(self._studio.jobs.save_now(self._job(job_id)))

    def preview_now(self, job_id: str) -> TrainingStatus:
        """Draw previews of a running training after the step at hand.

        Args:
            job_id: From start_training.
        """
        return training_facts(self._studio.jobs.preview_now(self._job(job_id)))

    def _checked(self, given: StartTraining, options: Any) -> StartTraining:
        """The request with all values checked: in a hand-written one none needs to have its type. Raises
        StudioError."""
        return StartTraining(
            dataset_id=safe_id(given.dataset_id, "set of pictures"),
            name=text(given.name, "name"),
            kind=_kind(given.kind),
            trigger=text(given.trigger, "trigger"),
            base=safe_base(given.base, self._studio.settings),
            overrides=overrides(mapping(options, "options")),
        )

    def _job(self, given: Any) -> str:
        return self._studio.jobs.get(safe_id(given, "training")).id


def _kind(given: Any) -> KindName:
    for kind in KINDS:
        if given == kind:
            return kind
    raise ConfigError(f"kind: choose one of {', '.join(KINDS)} (got {shown(given)}).", field="kind")


def add_endpoints(studio: Studio) -> None:
    """Add all endpoints. Call inside a Blocks context."""
    endpoints = Endpoints(studio)
    quick = (
        endpoints.training_status,
        endpoints.stop_training,
        endpoints.pause_training,
        endpoints.resume_training,
        endpoints.save_now,
        endpoints.preview_now,
        endpoints.start_training,
        endpoints.use_checkpoint,
    )
    for action in quick:
        _add(action, queue=False)
    library, files = LibraryEndpoints(studio), InspectionEndpoints(studio)
    captioning = CaptioningEndpoints(studio)
    edits, checks, captions = EditEndpoints(studio), CheckEndpoints(studio), CaptionEndpoints(studio)
    there: tuple[Callable[..., Any], ...] = (
        library.list_datasets,
        library.list_captions,
        library.set_caption,
        library.delete_dataset,
        *(edits.list_edits, edits.edit_pictures, edits.undo_edit, edits.redo_edit),
        *(edits.name_version, edits.go_to_version),
        captions.change_captions,
        *(captioning.start_captioning, captioning.captioning_status, captioning.stop_captioning),
        *(checks.check_dataset, checks.stop_check),
        library.list_trainings,
        library.list_loras,
        library.rename_lora,
        library.delete_lora,
        library.delete_training,
        library.list_images,
        library.delete_image,
        library.undo_delete,
        library.share,
        *(library.stop_import, library.stop_export),
        files.list_repairs,
        files.stop_repair,
    )
    for act in there:
        _add(act, queue=False)
    _add(captions.caption_words, concurrency_id="caption_words")
    for wait in (checks.fix_dataset, checks.dataset_report):
        _add(wait, concurrency_id="check")
    operations = OperationsEndpoints(studio)
    for ask_about in (operations.check_studio, operations.list_storage, operations.clean_up):
        _add(ask_about, concurrency_id="operations")
    _add_files(studio, library)
    _add(endpoints.upload_dataset)
    _add(endpoints.plan_training, concurrency_id="plan")
    compare = ComparisonEndpoints(studio)
    for compared in (compare.compare_trainings, compare.start_strength_report, compare.strength_report):
        _add(compared, queue=False)
    _add_image_endpoints(ImageEndpoints(studio))


def _add_image_endpoints(images: ImageEndpoints) -> None:
    questions: tuple[Callable[..., Any], ...] = (
        *(images.interrupt, images.list_generations, images.read_settings),
        *(images.list_samplers, images.list_styles),
    )
    for ask in questions:
        _add(ask, queue=False)
    drawing: tuple[Callable[..., Any], ...] = (
        images.generate,
        images.generate_base64,
        images.img2img,
        images.grid,
    )
    for draw in drawing:
        _add(draw, concurrency_id="generate", concurrency_limit=AT_ONCE)


def _add_files(studio: Studio, library: LibraryEndpoints) -> None:
    """Add the endpoints about LoRA files: looked into, made, written about, fetched, published."""
    files = InspectionEndpoints(studio)
    looked_at: tuple[Callable[..., Any], ...] = (
        files.inspect_lora,
        files.inspect_file,
        files.repair_lora,
        files.merge_loras,
        files.export_lora,
    )
    for look in looked_at:
        _add(look, concurrency_id="inspect")
    cards = CardEndpoints(studio)
    about: tuple[Callable[..., Any], ...] = (cards.get_card, cards.set_card, cards.stop_publishing)
    for tell in about:
        _add(tell, queue=False)
    _add(cards.publish_lora, concurrency_id="publish")
    _add(library.import_lora)
    _add(library.export_dataset)
    _add(library.import_lora_link, concurrency_id="link")


def _add(action: Callable[..., Any], **how: Any) -> None:
    checked = guarded(action)
    # Gradio does not resolve a return annotation that is a string, and then describes no type.
    setattr(checked, "__signature__", inspect.signature(action, eval_str=True))  # noqa: B010 (mypy)
    gr.api(checked, api_name=action.__name__, **how)
