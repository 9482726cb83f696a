"""What the named endpoints take and answer, and how records become that."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TypedDict

from lora_studio.errors import StoreError
from lora_studio.records import ImageRecord, JobRecord
from lora_studio.training.plan import TrainingPlan
from lora_studio.ui.gallery_tab import infotext
from lora_studio.ui.train_tab import result_slug


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
    resume_step: int | None
    lora_slug: str


class PlannedTraining(TypedDict):
    sentence: str
    steps: int
    images: int
    total_seconds: float
    seconds_per_step: float
    start_seconds: float
    preview_seconds: float
    ram_bytes: int
    device_bytes: int
    disk_bytes: int
    device: str


class UsedCheckpoint(TypedDict):
    step: int
    before: int


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
        resume_step=(job.state_step or 0) if job.resumable else None,
        lora_slug=result_slug(job),
    )


def planned_training(plan: TrainingPlan) -> PlannedTraining:
    return PlannedTraining(
        sentence=plan.sentence,
        steps=plan.steps,
        images=plan.images,
        total_seconds=plan.total_seconds,
        seconds_per_step=plan.seconds_per_step,
        start_seconds=plan.start_seconds,
        preview_seconds=plan.preview_seconds,
        ram_bytes=plan.ram_bytes,
        device_bytes=plan.device_bytes,
        disk_bytes=plan.disk_bytes,
        device=plan.device,
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
