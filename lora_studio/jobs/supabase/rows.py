"""Rows of jobs, events, LoRAs and images in the mirror, and jobs read back from there.

Rows of one table always have the same columns: the Data API takes a batch in no other form. Columns that only
people write over there (desired_state) or that come with a file (artifact_*, bucket, path) are not among
them, so that a row sent again leaves them alone. No path of this machine is sent.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from lora_studio.event_text import event_text
from lora_studio.events import event_from_json
from lora_studio.records import ImageRecord, JobRecord, JobStatus, LoraRecord

Row = dict[str, Any]

LONGEST_TEXT, LONGEST_NAME, LARGEST_DIM = 4000, 200, 4096
ABSOLUTE = re.compile(r"(?:/|[A-Za-z]:[\\/]|\\\\)[^\n]*")


def worker_of(machine: str, email: str) -> str:
    """The name of this home over there, by account: nobody may change another's rows."""
    return str(uuid.uuid5(uuid.UUID(machine), email.strip().casefold())) if email.strip() else machine


def mirror_id(machine: str, kind: str, key: str) -> str:
    """The UUID of a thing of this home over there: the same each time, another on every machine."""
    return str(uuid.uuid5(uuid.UUID(machine), f"{kind}/{key}"))


def job_row(job: JobRecord, machine: str, host: str) -> Row:
    """A training's row for the table training_jobs."""
    return _plain(
        {
            "id": mirror_id(machine, "job", job.id),
            "lora_id": mirror_id(machine, "lora", job.slug),
            "worker_id": machine,
            "machine": host,
            "local_id": job.id,
            "name": job.name,
            "status": str(job.status),
            "progress": 100.0 if job.status is JobStatus.FINISHED else min(100.0, max(0.0, job.progress)),
            "step": job.step,
            "total_steps": job.total_steps,
            "phase": job.phase,
            "loss": job.loss,
            "seconds_left": job.seconds_left,
            "message": job.message,
            "hint": job.hint,
            "config": job.config,
            "state_step": job.state_step,
            "run": job.run,
            "seq": job.revision,
            "heartbeat_at": _moment(job.heartbeat_at),
            "started_at": _moment(job.started_at),
            "finished_at": _moment(job.finished_at),
            "created_at": _moment(job.created_at),
        }
    )


def event_row(job_id: str, sequence: int, at: float, data: Mapping[str, Any], machine: str) -> Row:
    """`data` is the event's JSON, perhaps of another version."""
    try:
        message = event_text(event_from_json(dict(data)))
    except (ValueError, TypeError):
        message = ""
    kind = str(data.get("kind", ""))
    level = "error" if kind == "Failed" else "warning" if data.get("level") == "warning" else "info"
    return _plain(
        {
            "job_id": mirror_id(machine, "job", job_id),
            "seq": sequence,
            "at": _moment(at),
            "level": level,
            "kind": kind,
            "message": without_paths(message),
            "data": {key: value for key, value in data.items() if key != "kind"},
        }
    )


def lora_row(
    slug: str, machine: str, *, record: LoraRecord | None, job: JobRecord | None, thrown_away: bool
) -> Row:
    """A LoRA's row from the file in the library, or else from the newest training that makes it."""
    config = job.config if job else {}
    groups = ("model", "network", "dataset", "output")
    model, network, dataset, output = (config.get(group) or {} for group in groups)
    base = str(model.get("pretrained_model_name_or_path") or "")
    title = (record.title if record else "") or output.get("title") or slug
    return _plain(
        {
            "id": mirror_id(machine, "lora", slug),
            "worker_id": machine,
            "name": str(title)[:LONGEST_NAME],
            "slug": slug,
            "status": lora_status(record, job, thrown_away=thrown_away),
            "family": record.family if record else "",
            "base_model": without_paths(record.base if record else base),
            "kind": record.kind if record else str(dataset.get("kind") or ""),
            "trigger_word": record.trigger_word if record else str(dataset.get("trigger_word") or ""),
            "network_dim": _dim(record.network_dim if record else network.get("network_dim")),
            "network_alpha": record.network_alpha if record else network.get("network_alpha"),
            "steps": record.steps if record else 0,
            "tensor_sha256": record.id if record and re.fullmatch("[0-9a-f]{64}", record.id) else None,
            "metadata": _short_metadata(record.metadata) if record else {},
            "created_at": _moment(record.created_at if record else job.created_at if job else None),
        }
    )


def lora_status(record: LoraRecord | None, job: JobRecord | None, *, thrown_away: bool) -> str:
    if record is not None:
        return "ready"
    if job is None or thrown_away:
        return "archived"
    if job.status.active or job.status in {JobStatus.PAUSED, JobStatus.FINISHED}:
        return "training"  # a finished one is about to be read into the library
    return "failed"


def image_row(image: ImageRecord, machine: str, lora_id: str | None) -> Row:
    """A picture's row for the table generated_images; `lora_id` is the id of its first LoRA's row."""
    return _plain(
        {
            "id": mirror_id(machine, "image", image.id),
            "lora_id": lora_id,
            "worker_id": machine,
            "prompt": image.prompt,
            "negative_prompt": str(image.request.get("negative_prompt") or ""),
            "params": image.request,
            "width": image.width or None,
            "height": image.height or None,
            "seed": image.seed,
            "sha256": image.id if re.fullmatch("[0-9a-f]{64}", image.id) else None,
            "created_at": _moment(image.created_at),
        }
    )


def job_of_row(row: Mapping[str, Any]) -> JobRecord:
    """A job from its row in the mirror, `owner` its machine's name; interrupted where that seems dead."""
    return JobRecord(
        id=str(row["local_id"] or row["id"]),
        name=str(row["name"]),
        status=JobStatus(row["status"]),
        config=dict(row.get("config") or {}),
        created_at=seconds_of(row["created_at"]) or 0.0,
        started_at=seconds_of(row["started_at"]),
        finished_at=seconds_of(row["finished_at"]),
        heartbeat_at=seconds_of(row["seen_at"]),  # by the server's clock, as every reader's question
        progress=float(row["progress"]),
        step=int(row["step"]),
        total_steps=int(row["total_steps"]),
        phase=str(row["phase"]),
        loss=_number(row["loss"]),
        seconds_left=_number(row["seconds_left"]),
        message=str(row["message"]),
        hint=str(row["hint"]),
        revision=int(row["seq"]),
        owner=str(row["machine"]),
        state_step=row["state_step"],
        run=int(row["run"]),
    )


def without_paths(text: str) -> str:
    """The text with each absolute path cut to its last part."""
    if ABSOLUTE.fullmatch(text.strip()):
        return _last_part(text.strip())
    words = (
        _last_part(word) if ABSOLUTE.fullmatch(word) and len(word) > 1 else word for word in text.split(" ")
    )
    return " ".join(words)


def _last_part(path: str) -> str:
    pure = PureWindowsPath(path) if "\\" in path or path[1:2] == ":" else PurePosixPath(path)
    return pure.name


def _plain(value: Any) -> Any:
    """A value that PostgreSQL and JSON can hold: no NUL, no lone surrogate, no NaN; long texts are cut."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        text = value.replace("\x00", "").encode("utf-8", "replace").decode()
        return without_paths(text[:LONGEST_TEXT]) if ABSOLUTE.match(text) else text[:LONGEST_TEXT]
    return value


def _dim(given: Any) -> int | None:
    """The rank; None for values beyond the schema's: LyCORIS writes 100,000 for a full matrix."""
    return given if isinstance(given, int) and 1 <= given <= LARGEST_DIM else None


def _short_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata without thumbnails and tables of tags."""
    return {key: value for key, value in metadata.items() if len(value) <= 500}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()


def seconds_of(text: str | None) -> float | None:
    return None if not text else datetime.fromisoformat(text).timestamp()
