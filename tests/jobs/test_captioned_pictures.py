"""A single picture captioned anew, never over what somebody wrote unasked; the cost that is said before."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.captioning import engine_files
from lora_studio.captioning.captioner import ENGINES
from lora_studio.captioning.starter_captioner import StarterCaptioner
from lora_studio.dataset import Datasets
from lora_studio.errors import DatasetError
from lora_studio.jobs.captioning.captioning_jobs import CaptioningJobs
from lora_studio.jobs.captioning.captioning_request import CaptioningRequest
from lora_studio.jobs.captioning.captioning_state import Captioning
from lora_studio.runtime import DeviceLease
from lora_studio.store.database import Database
from tests.support.serving import DRAWN
from tests.support.waiting import PATIENCE


@pytest.fixture
def dataset_id(datasets: Datasets, tmp_path: Path) -> str:
    caption = tmp_path / "03.txt"
    caption.write_text("mine", "utf-8")
    return datasets.create("Things", [*(DRAWN / f"{name}.png" for name in ("01", "02", "03")), caption]).id


@pytest.fixture
def jobs(datasets: Datasets, database: Database) -> CaptioningJobs:
    return CaptioningJobs(datasets, DeviceLease(), database)


def asked(dataset_id: str, *pictures: str, over_hand: bool = False) -> CaptioningRequest:
    engine = ENGINES["starter"]
    return CaptioningRequest(dataset_id=dataset_id, engine=engine, pictures=pictures, over_hand=over_hand)


def captioned(jobs: CaptioningJobs, request: CaptioningRequest) -> Captioning:
    jobs.begin(request)
    return jobs.wait(request.dataset_id, PATIENCE)


def speak(patch: pytest.MonkeyPatch, word: str) -> None:
    """Let the engine say a word to all pictures; an empty one: it can tell none."""
    patch.setattr(StarterCaptioner, "captions", lambda self, images: [word] * len(images))


def test_one_picture_is_captioned_anew_and_never_over_a_hand_unasked(
    datasets: Datasets, jobs: CaptioningJobs, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak(monkeypatch, "first")
    captioned(jobs, asked(dataset_id))
    datasets.set_caption(dataset_id, "02.png", "")
    speak(monkeypatch, "second")
    assert captioned(jobs, asked(dataset_id, "01.png")).captioned == 1
    assert captioned(jobs, asked(dataset_id, "02.png")).captioned == 1  # it was taken away, and is asked for
    assert [jobs.is_by_hand(dataset_id, name) for name in ("01.png", "03.png")] == [False, True]
    with pytest.raises(DatasetError, match=r"03\.png was written by hand"):
        jobs.begin(asked(dataset_id, "01.png", "03.png"))
    with pytest.raises(DatasetError, match="not in this set"):
        jobs.begin(asked(dataset_id, "../04.png"))
    assert [*datasets.captions(dataset_id).values()] == ["second", "second", "mine"]
    captioned(jobs, asked(dataset_id, "03.png", over_hand=True))
    assert datasets.captions(dataset_id)["03.png"] == "second"
    datasets.undo_edit(dataset_id)
    assert datasets.captions(dataset_id)["03.png"] == "mine"


def test_the_others_that_failed_stay_named(
    jobs: CaptioningJobs, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak(monkeypatch, "")
    assert [*captioned(jobs, asked(dataset_id)).failed] == ["01.png", "02.png"]
    speak(monkeypatch, "thing")
    again = captioned(jobs, asked(dataset_id, "01.png"))
    assert ([*again.failed], again.captioned, again.total) == (["02.png"], 1, 1)


def test_the_cost_is_known_once_an_engine_was_measured(
    jobs: CaptioningJobs, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmeasured = jobs.cost(asked(dataset_id))
    assert (unmeasured.pictures, unmeasured.seconds, unmeasured.is_here) == (2, None, True)
    assert unmeasured.memory_bytes > 100_000
    speak(monkeypatch, "thing")
    job = captioned(jobs, asked(dataset_id, "01.png"))
    assert job.seconds > 0
    known = jobs.cost(asked(dataset_id))
    assert known.pictures == 1
    assert known.seconds == pytest.approx(job.loading + job.seconds, abs=0.01)
    assert jobs.cost(CaptioningRequest(dataset_id=dataset_id, engine=ENGINES["blip"])).seconds is None


def test_a_model_counts_as_here_once_all_its_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = dict[str, Path]()
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda _, name: str(there.get(name, "")) or None
    )
    assert engine_files.engine_weights(ENGINES["wd14"]) == []
    for name in ENGINES["wd14"].files:
        assert engine_files.engine_weights(ENGINES["wd14"]) == []
        there[name] = tmp_path / name
        there[name].write_bytes(b"12")
    assert [path.name for path in engine_files.engine_weights(ENGINES["wd14"])] == [*there]
