"""The named endpoints: what the page can do, for scripts. Types and docstrings become its documentation."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import gradio as gr

from lora_studio.errors import ConfigError, DatasetError, DeviceBusy
from lora_studio.events import never_stop
from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from lora_studio.ui.answers import (
    EncodedImage,
    ImageFile,
    ImageOptions,
    LoraFacts,
    LoraWeight,
    PlannedTraining,
    TrainingStatus,
    UploadedDataset,
    UsedCheckpoint,
    encoded_image,
    image_file,
    planned_training,
    training_facts,
)
from lora_studio.ui.form import overrides
from lora_studio.ui.gallery_tab import lora_file
from lora_studio.ui.guard import guarded, safe_base, safe_id, safe_slug, safe_uploads, whole
from lora_studio.ui.markup import file_url
from lora_studio.ui.upload_tab import DEFAULT_BASE, KINDS, plan_training

KindName = Literal["person", "style", "object", "character"]


class Endpoints:
    """Each public method is one endpoint of the same name."""

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
        record = self._studio.datasets.create(str(name or "Pictures"), paths)
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
        if kind not in KINDS:
            raise ConfigError(f"kind: choose one of {', '.join(KINDS)} (got {kind!r}).", field="kind")
        if not isinstance(options, dict | None):
            raise ConfigError("options: a mapping of settings is needed.", field="options")
        job = self._studio.start_training(
            dataset_id=safe_id(dataset_id, "set of pictures"),
            name=str(name or ""),
            kind=kind,
            trigger=str(trigger or ""),
            base=safe_base(base, self._studio.settings),
            overrides=overrides(options or {}),
        )
        return training_facts(job)

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
        if not isinstance(options, dict | None):
            raise ConfigError("options: a mapping of settings is needed.", field="options")
        subject = [str(given or "") for given in (dataset_id, kind, "Plan", trigger, base)]
        plan = plan_training(self._studio, subject, overrides(options or {}), never_stop)
        if plan is None:
            raise DeviceBusy("The measurement was stopped.", "Try again.")
        return planned_training(plan)

    def use_checkpoint(self, slug: str, step: int) -> UsedCheckpoint:
        """Make a checkpoint of a training the LoRA's file; the same call with `before` is the way back.

        Args:
            slug: From list_loras.
            step: A checkpoint's step; training.json and the page's board list them.
        """
        wanted = whole(step, "step") or 0
        return UsedCheckpoint(
            step=wanted, before=self._studio.gallery.use_checkpoint(safe_slug(slug), wanted)
        )

    def training_status(self, job_id: str) -> TrainingStatus:
        """How a training is: status (queued, running, stopping, pausing, paused, finished, failed, stopped or
        interrupted), progress in percent, step, loss, seconds left, the step it can be resumed from (null if
        it can't), and lora_slug once there is a result.

        Args:
            job_id: From start_training.
        """
        return training_facts(self._studio.jobs.get(safe_id(job_id, "training")))

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
        return training_facts((jobs.fork if as_new_run is True else jobs.resume)(self._job(job_id)))

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

    def _job(self, given: Any) -> str:
        return self._studio.jobs.get(safe_id(given, "training")).id

    def list_loras(self, search: str = "") -> list[LoraFacts]:
        """The LoRAs of the library, newest first. A file is fetched at the address plus download_url.

        Args:
            search: Only those that match; empty for all.
        """
        return [
            LoraFacts(
                slug=record.slug,
                title=record.title,
                trigger_word=record.trigger_word,
                kind=record.kind,
                base=record.base,
                family=record.family,
                network_dim=record.network_dim,
                network_alpha=record.network_alpha,
                steps=record.steps,
                size_bytes=record.size_bytes,
                created_at=record.created_at,
                hash=record.id,
                download_url=file_url(file) if (file := lora_file(record)) else "",
            )
            for record in self._studio.gallery.loras(search=str(search or ""))
        ]

    def generate(
        self,
        prompt: str,
        loras: list[LoraWeight] | None = None,
        base: str = DEFAULT_BASE,
        negative_prompt: str = "",
        seed: int | None = None,
        count: int = 1,
        options: ImageOptions | None = None,
    ) -> list[ImageFile]:
        """Make images and return them as PNG files with their settings inside.

        Args:
            prompt: What the picture shows.
            loras: LoRAs with weights, as [{"slug": "ink", "weight": 0.8}]; any number.
            base: The base model, a name from the catalog or from models/base.
            negative_prompt: What it must not show.
            seed: Same seed, same picture. Empty: drawn.
            count: How many; image i uses seed + i.
            options: num_inference_steps, guidance_scale, width, height, sampler, insert_trigger.
        """
        request = self._request(
            options,
            prompt=prompt,
            loras=loras,
            base=base,
            negative_prompt=negative_prompt,
            seed=seed,
            count=count,
        )
        return [image_file(record) for record in self._studio.generate(request)]

    def generate_base64(
        self,
        prompt: str,
        loras: list[LoraWeight] | None = None,
        base: str = DEFAULT_BASE,
        negative_prompt: str = "",
        seed: int | None = None,
        count: int = 1,
        options: ImageOptions | None = None,
    ) -> list[EncodedImage]:
        """Make images and return each as {"image": base64 of the PNG, "seed": ..., "infotext": its settings}.

        Args:
            prompt: What the picture shows.
            loras: LoRAs with weights, as [{"slug": "ink", "weight": 0.8}]; any number.
            base: The base model, a name from the catalog or from models/base.
            negative_prompt: What it must not show.
            seed: Same seed, same picture. Empty: drawn.
            count: How many; image i uses seed + i.
            options: num_inference_steps, guidance_scale, width, height, sampler, insert_trigger.
        """
        request = self._request(
            options,
            prompt=prompt,
            loras=loras,
            base=base,
            negative_prompt=negative_prompt,
            seed=seed,
            count=count,
        )
        return [encoded_image(record) for record in self._studio.generate(request)]

    def _request(self, options: Any, **values: Any) -> GenerateRequest:
        if not isinstance(options, dict | None):
            raise ConfigError("options: a mapping of settings is needed.", field="options")
        unknown = set(options or {}) - set(ImageOptions.__annotations__)
        if unknown:
            raise ConfigError(
                f"options: there is no setting called {sorted(map(str, unknown))[0]!r}.",
                f"There are {', '.join(ImageOptions.__annotations__)}.",
                field="options",
            )
        values["base"] = safe_base(values["base"], self._studio.settings)
        values["loras"] = values["loras"] or []
        request = GenerateRequest.build(**values, **(options or {}))
        for use in request.loras:
            self._studio.gallery.lora(safe_slug(use.slug))
        return request


def add_endpoints(studio: Studio) -> None:
    """Call inside a Blocks context."""
    endpoints = Endpoints(studio)
    quick = (
        endpoints.training_status,
        endpoints.stop_training,
        endpoints.pause_training,
        endpoints.resume_training,
        endpoints.save_now,
        endpoints.preview_now,
        endpoints.list_loras,
        endpoints.start_training,
        endpoints.use_checkpoint,
    )
    for action in quick:
        _add(action, queue=False)
    _add(endpoints.upload_dataset)
    _add(endpoints.plan_training, concurrency_id="plan")
    _add(endpoints.generate, concurrency_id="generate")
    _add(endpoints.generate_base64, concurrency_id="generate")


def _add(action: Callable[..., Any], **how: Any) -> None:
    checked = guarded(action)
    # Gradio does not resolve a return annotation that is a string, and then describes no type.
    setattr(checked, "__signature__", inspect.signature(action, eval_str=True))  # noqa: B010 (mypy)
    gr.api(checked, api_name=action.__name__, **how)
