"""The server's cost of an open page while a training runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lora_studio.config import TrainConfig
from lora_studio.events import StepDone
from lora_studio.records import JobRecord
from lora_studio.store.job_store import JobStore
from lora_studio.studio import Studio
from lora_studio.ui.page_revision import Revisions
from lora_studio.ui.refresh import PageRefresh
from lora_studio.ui.train.training_chart import POINTS
from scripts.bench.parts.processor_seconds import least

PAGE = "page: "
"""The beginning of the names of what must not grow."""
TOTAL = 2000
PLACES = ("", "", "", "1", "newest", "", "", "1", "")
"""Nothing chosen in the Gallery, and the first page of each shelf."""


@dataclass(frozen=True, kw_only=True)
class Looks:
    """The looks of a page once a step is done: at most steps, where it paints the curves, too, and where a
    picture came meanwhile. All can be called again and again."""

    usual: Callable[[], Any]
    with_curves: Callable[[], Any]
    with_pictures: Callable[[], Any]


def looks_at_a_step(live: PageRefresh, job_id: str) -> Looks:
    """The looks of a page that has painted all of a training but its last step."""
    store = JobStore(live.studio.database)
    given = (job_id, "", "", "", "", *PLACES, "", [])

    def take_step() -> None:
        job = store.get(job_id)
        store.append(job_id, step_done(job.step + 1, job.total_steps))

    take_step()
    seen = live.look(None, *given)[live.seen]
    take_step()
    now = live.look(seen, *given)[live.seen]
    steady = {**seen, "previews": now["previews"]}
    curves = {"previews": {**now["previews"], "curves": []}}
    pictures = {"images": None, "image shelf": None}
    return Looks(
        usual=lambda: live.look(steady, *given),
        with_curves=lambda: live.look({**steady, **curves}, *given),
        with_pictures=lambda: live.look({**steady, **pictures}, *given),
    )


def measure_tick(studio: Studio, job: JobRecord | None = None) -> Iterator[tuple[str, float]]:
    """The question each second, and the changes after one more step of a training: as most steps have them,
    and the share of the curves, which are painted after each 200th part of it."""
    from lora_studio.ui.blocks import build

    store, live = JobStore(studio.database), build(studio).refresh
    job = job or store.create(training_config(studio, TOTAL))
    store.claim(job.id, "bench")
    yield f"{PAGE}is anything new", least(Revisions(studio).now)
    looks = looks_at_a_step(live, job.id)
    usual = least(looks.usual)
    yield f"{PAGE}a step", usual
    curves = max(0.0, least(looks.with_curves) - usual)
    yield f"{PAGE}the curves' share of a step", curves * POINTS / job.total_steps
    if studio.gallery.count_images():
        yield "shelf after a new picture", least(looks.with_pictures)


def training_config(studio: Studio, steps: int) -> TrainConfig:
    """Settings of a training that nobody runs."""
    home = studio.settings
    return TrainConfig.from_values(
        {
            "pretrained_model_name_or_path": "starter",
            "train_data_dir": str(home.datasets / "bench"),
            "output_name": "bench",
            "output_dir": str(home.loras / "bench"),
            "max_train_steps": steps,
        }
    )


def step_done(step: int, total: int) -> StepDone:
    return StepDone(step=step, total_steps=total, loss=0.5, average_loss=0.5, learning_rate=1e-4, seconds=0.1)
