"""Types of the named endpoints' arguments and answers, and answers made from records."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, TypedDict

from lora_studio.errors import StoreError
from lora_studio.estimate import TrainingEstimate
from lora_studio.grids.grid_request import GridResult
from lora_studio.jobs.generation_queue import GenerationJob
from lora_studio.records import DatasetRecord, ImageRecord, JobRecord, LoraRecord
from lora_studio.ui.gallery.gallery_tab import infotext, lora_file
from lora_studio.ui.train.train_tab import result_slug
from lora_studio.ui.widgets.html_templates import file_url

MIME_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


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


class FindingFacts(TypedDict):
    what: str
    state: str
    said: str
    advice: str


class StorageFacts(TypedDict):
    kind: str
    title: str
    bytes: int
    files: int
    freed_bytes: int
    freed_files: int


class CleanedStorage(TypedDict):
    kind: str
    files: int
    bytes: int


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
    left_out: str


class DatasetFacts(TypedDict):
    dataset_id: str
    name: str
    images: int
    captions: int
    created_at: float


class CaptionedPicture(TypedDict):
    file: str
    caption: str


class EditFacts(TypedDict):
    id: str
    time: str
    why: str
    edits: list[dict[str, Any]]


class DatasetEdits(TypedDict):
    dataset_id: str
    images: int
    captions: int
    entries: list[EditFacts]
    redo: EditFacts | None
    versions: dict[str, str]
    head: str


class DatasetCheckStatus(TypedDict):
    """`done` of `total` pictures are measured, `report` is null until the check has finished."""

    check_id: str
    dataset_id: str
    state: str
    done: int
    total: int
    head: str
    message: str
    report: dict[str, Any] | None


class ImageFacts(TypedDict):
    image_id: str
    prompt: str
    seed: int
    width: int
    height: int
    loras: list[str]
    created_at: float
    infotext: str
    download_url: str


class DeletedThing(TypedDict):
    undo: str


class LoraWeight(TypedDict, total=False):
    slug: str
    weight: float
    text_encoder_weight: float
    checkpoint: int


class ImageOptions(TypedDict, total=False):
    num_inference_steps: int
    guidance_scale: float
    width: int
    height: int
    sampler: str
    insert_trigger: bool
    clip_skip: int
    guidance_rescale: float
    distilled_guidance_scale: float
    shift: float
    variation_seed: int
    variation_strength: float
    hires_scale: float
    hires_steps: int
    hires_strength: float
    hires_upscaler: str
    image_format: str


class RedrawOptions(ImageOptions, total=False):
    base: str
    negative_prompt: str
    strength: float
    mask_blur: int
    padding_mask_crop: int


class GridOptions(ImageOptions, total=False):
    base: str
    negative_prompt: str


class GridAxis(TypedDict):
    parameter: str
    values: str


class StyleFacts(TypedDict):
    key: str
    title: str
    purpose: str
    prompt: str
    negative_prompt: str


class GenerationStatus(TypedDict):
    ticket: str
    prompt: str
    state: str
    ahead: int
    progress: int
    image: int
    images: int
    step: int
    total_steps: int
    seconds: float
    notes: list[str]
    message: str
    hint: str


class PictureSettings(TypedDict):
    request: dict[str, Any]
    missing: list[str]
    infotext: str


class ImageFile(TypedDict):
    path: str
    orig_name: str
    mime_type: str
    meta: dict[str, str]


class GridPictures(TypedDict):
    sheet: ImageFile | None
    cells: list[ImageFile | None]
    columns: int
    rows: int
    reused: int


class EncodedImage(TypedDict):
    image: str
    seed: int
    infotext: str


def training_facts(job: JobRecord) -> TrainingStatus:
    """The answer about a training."""
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


def planned_training(plan: TrainingEstimate) -> PlannedTraining:
    """The answer of plan_training."""
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


def lora_facts(record: LoraRecord) -> LoraFacts:
    """The answer about a LoRA."""
    return LoraFacts(
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
        left_out=record.left_out,
    )


def dataset_facts(record: DatasetRecord) -> DatasetFacts:
    return DatasetFacts(
        dataset_id=record.id,
        name=record.name,
        images=record.images,
        captions=record.captions,
        created_at=record.created_at,
    )


def image_facts(record: ImageRecord) -> ImageFacts:
    """The answer about a picture of the gallery."""
    return ImageFacts(
        image_id=record.id,
        prompt=record.prompt,
        seed=record.seed,
        width=record.width,
        height=record.height,
        loras=list(record.lora_slugs),
        created_at=record.created_at,
        infotext=infotext(record),
        download_url=file_url(Path(record.path)),
    )


def generation_status(ticket: GenerationJob) -> GenerationStatus:
    """The answer about a generation."""
    return GenerationStatus(
        ticket=ticket.id,
        prompt=ticket.title,
        state=str(ticket.state),
        ahead=ticket.ahead,
        progress=ticket.percent,
        image=ticket.image,
        images=ticket.images,
        step=ticket.step,
        total_steps=ticket.total_steps,
        seconds=ticket.seconds,
        notes=list(ticket.notes),
        message=ticket.message,
        hint=ticket.hint,
    )


def image_file(record: ImageRecord) -> ImageFile:
    """A picture for clients to download."""
    return picture_file(Path(record.path))


def picture_file(path: Path) -> ImageFile:
    kind = MIME_TYPES.get(path.suffix.lower(), "application/octet-stream")
    return ImageFile(path=str(path), orig_name=path.name, mime_type=kind, meta={"_type": "gradio.FileData"})


def grid_pictures(result: GridResult) -> GridPictures:
    return GridPictures(
        sheet=image_file(result.sheet) if result.sheet else None,
        cells=[image_file(cell) if cell else None for cell in result.cells],
        columns=result.columns,
        rows=result.rows,
        reused=result.reused,
    )


def encoded_image(record: ImageRecord) -> EncodedImage:
    try:
        data = Path(record.path).read_bytes()
    except OSError as error:
        raise StoreError("The finished picture is gone from the disk.", "Try again.") from error
    return EncodedImage(image=base64.b64encode(data).decode(), seed=record.seed, infotext=infotext(record))
