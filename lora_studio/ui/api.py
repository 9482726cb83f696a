"""The named endpoints: what the page can do, for scripts. Types and docstrings become its documentation."""

from __future__ import annotations

import base64
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict

import gradio as gr

from lora_studio.errors import ConfigError, DatasetError, StoreError
from lora_studio.records import ImageRecord, JobRecord
from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from lora_studio.ui.form import overrides
from lora_studio.ui.gallery_tab import infotext, lora_file
from lora_studio.ui.guard import guarded, safe_base, safe_id, safe_slug, safe_uploads
from lora_studio.ui.markup import file_url
from lora_studio.ui.train_tab import result_slug
from lora_studio.ui.upload_tab import DEFAULT_BASE, KINDS

KindName = Literal["person", "style", "object", "character"]


class UploadedDataset(TypedDict):
    dataset_id: str
    images: int
    captions: int
    refused: list[str]
    warnings: list[str]


class TrainingStatus(TypedDict):
    job_id: str
    name: str
    status: str
    progress: float
    phase: str
    step: int
    total_steps: int
    loss: float | None
    seconds_left: float | None
    message: str
    hint: str
    lora_slug: str


class LoraFacts(TypedDict):
    slug: str
    title: str
    trigger_word: str
    kind: str
    base: str
    family: str
    network_dim: int
    network_alpha: float
    steps: int
    size_bytes: int
    created_at: float
    hash: str
    download_url: str


class LoraWeight(TypedDict, total=False):
    slug: str
    weight: float


class ImageOptions(TypedDict, total=False):
    num_inference_steps: int
    guidance_scale: float
    width: int
    height: int
    sampler: str
    insert_trigger: bool


class ImageFile(TypedDict):
    path: str
    orig_name: str
    mime_type: str
    meta: dict[str, str]


class EncodedImage(TypedDict):
    image: str
    seed: int
    infotext: str


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

    def training_status(self, job_id: str) -> TrainingStatus:
        """How a training is: status (queued, running, stopping, finished, failed, stopped or interrupted),
        progress in percent, step, loss, seconds left, and lora_slug once there is a result.

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


def training_facts(job: JobRecord) -> TrainingStatus:
    return TrainingStatus(
        job_id=job.id,
        name=job.name,
        status=str(job.status),
        progress=job.progress,
        phase=job.phase,
        step=job.step,
        total_steps=job.total_steps,
        loss=job.loss,
        seconds_left=job.seconds_left,
        message=job.message,
        hint=job.hint,
        lora_slug=result_slug(job),
    )


def image_file(record: ImageRecord) -> ImageFile:
    """What the clients download."""
    name = Path(record.path).name
    return ImageFile(
        path=record.path, orig_name=name, mime_type="image/png", meta={"_type": "gradio.FileData"}
    )


def encoded_image(record: ImageRecord) -> EncodedImage:
    try:
        data = Path(record.path).read_bytes()
    except OSError as error:
        raise StoreError("The finished picture is gone from the disk.", "Try again.") from error
    return EncodedImage(image=base64.b64encode(data).decode(), seed=record.seed, infotext=infotext(record))


def add_endpoints(studio: Studio) -> None:
    """Call inside a Blocks context."""
    endpoints = Endpoints(studio)
    quick = (
        endpoints.training_status,
        endpoints.stop_training,
        endpoints.list_loras,
        endpoints.start_training,
    )
    for action in quick:
        _add(action, queue=False)
    _add(endpoints.upload_dataset)
    _add(endpoints.generate, concurrency_id="generate")
    _add(endpoints.generate_base64, concurrency_id="generate")


def _add(action: Callable[..., Any], **how: Any) -> None:
    checked = guarded(action)
    # Gradio does not resolve a return annotation that is a string, and then describes no type.
    setattr(checked, "__signature__", inspect.signature(action, eval_str=True))  # noqa: B010 (mypy)
    gr.api(checked, api_name=action.__name__, **how)
