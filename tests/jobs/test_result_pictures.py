"""The first pictures with a new LoRA: asked for once, kept with their training, in the gap between two."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, Visitor, acting
from lora_studio.errors import NotAllowed, OutOfMemory
from lora_studio.events import (
    Emit,
    Finished,
    ImageSaved,
    ResultDrawn,
    ShouldStop,
    Started,
    Stopped,
    ignore,
    never_stop,
)
from lora_studio.generator import Generator
from lora_studio.jobs.ended import result_pictures
from lora_studio.jobs.ended.result_pictures import CUT_SHORT, OUT_OF_TIME, STOPPED, ResultPictures
from lora_studio.jobs.ended.training_endings import TrainingEndings
from lora_studio.jobs.generation_queue import GenerationQueue
from lora_studio.records import JobRecord, JobStatus
from lora_studio.request import GeneratedImage, GenerateRequest
from lora_studio.store.job_store import JobStore
from lora_studio.store.people.ownership import Owners
from lora_studio.store.people.people import People
from lora_studio.store.people.visitors import Visitors
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.train.result_card import result_card
from lora_studio.ui.upload.example_pictures import example_files
from tests.support.library_entries import draw, write_result
from tests.support.waiting import PATIENCE, until


class Pencil(Generator):
    """A generator that draws a plain picture as soon as the test lets it, and remembers what it was asked."""

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio.settings)
        self.asked: list[GenerateRequest] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.unloaded = 0
        self.failure: OutOfMemory | None = None

    def generate(
        self,
        request: GenerateRequest,
        emit: Emit = ignore,
        should_stop: ShouldStop = never_stop,
        *,
        live: bool = False,
        folder: Path | None = None,
    ) -> list[GeneratedImage]:
        self.asked.append(request)
        while not self.may_go.wait(0.01):
            if should_stop():
                return []
        if self.failure and len(self.asked) > 1:
            raise self.failure
        image = draw(self._settings, request.prompt, len(self.asked), request.loras)
        emit(ImageSaved(path=image.path, seed=image.seed, image=1, images=1))
        return [image]

    def unload(self) -> None:
        self.unloaded += 1


@pytest.fixture
def pencil(studio: Studio) -> Pencil:
    return Pencil(studio)


@pytest.fixture
def pictures(studio: Studio, pencil: Pencil) -> Iterator[ResultPictures]:
    made = replace(studio.result_pictures, drawing=replace(studio.drawing, generator=pencil))
    yield made
    made.generation_queue.close(PATIENCE)


def start(studio: Studio, name: str = "Ink", **overrides: object) -> JobRecord:
    dataset = studio.datasets.create(name, example_files("ink"))
    wanted = StartTraining(dataset_id=dataset.id, name=name, kind="style", overrides=overrides)
    return studio.trainings.start(wanted)


def finish(studio: Studio, job: JobRecord) -> JobRecord:
    store, folder = JobStore(studio.database), write_result(studio.settings, job.slug)
    studio.gallery.scan()
    store.claim(job.id, "test")
    store.append(job.id, Started(total_steps=10, phases=("train",), device="cpu", dtype="fp32"))
    store.append(job.id, Finished(path=str(folder), steps=10, seconds=1.0))
    return store.get(job.id)


def told(pictures: ResultPictures, job: JobRecord) -> ResultDrawn:
    found = pictures.of(job.id)
    assert found is not None
    return found


def test_three_pictures_are_drawn_once_by_one_generation(
    studio: Studio, pictures: ResultPictures, pencil: Pencil
) -> None:
    job = finish(studio, start(studio))
    pictures.after(job)
    assert len({request.prompt for request in pencil.asked}) == 3
    for request in pencil.asked:
        assert [use.slug for use in request.loras] == ["ink"]
        assert job.config["dataset"]["trigger_word"] in request.prompt
        assert request.base == "starter"
    (ticket,) = pictures.generation_queue.tickets()
    assert (ticket.images, ticket.title) == (3, "First pictures with Ink")
    found = told(pictures, job)
    assert found == ResultDrawn(paths=ticket.saved, prompts=tuple(one.prompt for one in pencil.asked))
    assert [image.path for image in reversed(studio.gallery.images())] == list(found.paths)
    pictures.after(studio.jobs.get(job.id))
    pictures.catch_up()
    assert len(pencil.asked) == 3
    assert pencil.unloaded == 0, "nobody waits for the memory"


@pytest.mark.parametrize("ending", ["stopped", "unwanted"])
def test_no_picture_is_drawn_of_what_was_stopped_or_does_not_want_any(
    studio: Studio, pictures: ResultPictures, pencil: Pencil, ending: str
) -> None:
    job = start(studio, **({"result_pictures": 0} if ending == "unwanted" else {}))
    if ending == "unwanted":
        job = finish(studio, job)
    else:
        store = JobStore(studio.database)
        store.append(job.id, Stopped(step=3, path=str(write_result(studio.settings, "ink"))))
        job = store.get(job.id)
    pictures.after(job)
    assert pencil.asked == []
    assert pictures.of(job.id) is None


def test_a_failure_is_kept_in_words_and_they_can_be_asked_for_again(
    studio: Studio, pictures: ResultPictures, pencil: Pencil
) -> None:
    pencil.failure = OutOfMemory("The memory was not enough for drawing.", "Draw smaller ones.")
    job = finish(studio, start(studio))
    pictures.after(job)
    found = told(pictures, job)
    assert len(found.paths) == len(found.prompts) == 1
    assert found.message == "The memory was not enough for drawing. Draw smaller ones."
    pencil.failure = None
    ticket = pictures.ask(job)
    assert pictures.generation_queue.wait(ticket.id, PATIENCE).state == "finished"
    assert len(told(pictures, job).paths) == 3


def test_a_base_that_is_gone_is_said(studio: Studio, pictures: ResultPictures) -> None:
    job = finish(studio, start(studio))
    model = {**job.config["model"], "pretrained_model_name_or_path": str(studio.settings.bases / "gone")}
    pictures.after(replace(job, config={**job.config, "model": model}))
    assert "gone" in told(pictures, job).message
    assert pictures.generation_queue.tickets() == []


def test_the_next_training_waits_for_them_and_not_for_ever(
    studio: Studio, pictures: ResultPictures, pencil: Pencil, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = finish(studio, start(studio)), start(studio, "Next")
    monkeypatch.setattr(result_pictures, "LOOK_SECONDS", 0.01)
    pictures.after(job)
    assert len(told(pictures, job).paths) == 3
    assert pencil.unloaded == 1, "the next one has the whole memory"

    other = finish(studio, start(studio, "Other"))
    monkeypatch.setattr(result_pictures, "LONGEST_GAP", 0.1)
    pencil.may_go.clear()
    pictures.after(other)
    assert told(pictures, other) == ResultDrawn(message=OUT_OF_TIME)
    assert not any(ticket.state.active for ticket in pictures.generation_queue.tickets())


def test_who_stops_them_is_heard(studio: Studio, pictures: ResultPictures, pencil: Pencil) -> None:
    pencil.may_go.clear()
    job = finish(studio, start(studio))
    thread = threading.Thread(target=pictures.after, args=(job,), daemon=True)
    thread.start()
    until(lambda: bool(pencil.asked))
    pictures.generation_queue.cancel(told(pictures, job).ticket)
    thread.join(PATIENCE)
    assert told(pictures, job) == ResultDrawn(message=STOPPED)


def test_what_the_end_of_the_studio_cut_short_is_drawn_at_the_next_start_and_not_again_and_again(
    studio: Studio, pictures: ResultPictures, pencil: Pencil
) -> None:
    pencil.may_go.clear()
    job = finish(studio, start(studio))
    thread = threading.Thread(target=pictures.after, args=(job,), daemon=True)
    thread.start()
    until(lambda: bool(pencil.asked))
    pictures.generation_queue.close(PATIENCE)
    thread.join(PATIENCE)
    assert told(pictures, job).ticket

    with closing(GenerationQueue()) as queue:
        later = replace(pictures, generation_queue=queue)
        later.catch_up()
        until(lambda: len(pencil.asked) == 2)
    assert told(later, job).ticket
    later.catch_up()
    assert told(later, job) == ResultDrawn(message=CUT_SHORT)
    later.catch_up()
    assert len(JobStore(studio.database).events(job.id, kinds=("ResultDrawn",))) == 3


def test_a_training_that_ends_while_the_studio_closes_has_its_pictures_at_the_next_start(
    studio: Studio, pictures: ResultPictures, pencil: Pencil
) -> None:
    job = finish(studio, start(studio))
    pictures.generation_queue.close(PATIENCE)
    pictures.after(job)
    assert not told(pictures, job).message
    with closing(GenerationQueue()) as queue:
        later = replace(pictures, generation_queue=queue)
        later.catch_up()
        until(lambda: len(told(later, job).paths) == 3)


def test_they_belong_to_whom_the_training_belongs(studio: Studio, pictures: ResultPictures) -> None:
    People(studio.database).add("ada", Role.TRAINER, "a long password")
    ada = Visitors.over(studio.database, studio.settings, is_open=False).of("ada")
    with acting(ada):
        job = start(studio)
    pictures.after(finish(studio, job))
    paths = told(pictures, job).paths
    owners = Owners(studio.database)
    assert [owners.owners(Kind.IMAGE, path) for path in paths] == [["ada"]] * 3
    eve = Visitor(name="eve", role=Role.TRAINER, kept=owners)
    with acting(eve):
        assert pictures.of(job.id) is None
    owners.share(Kind.JOB, job.id, True)
    with acting(eve), pytest.raises(NotAllowed):
        pictures.ask(studio.jobs.get(job.id))
    assert told(pictures, job).paths == paths, "who may look at a training can't change what it shows"


def test_a_second_click_finds_those_that_are_drawn_already(
    studio: Studio, pictures: ResultPictures, pencil: Pencil
) -> None:
    pencil.may_go.clear()
    job = finish(studio, start(studio))
    assert pictures.ask(job).id == pictures.ask(job).id
    assert len(pictures.generation_queue.tickets()) == 1


def test_of_a_shared_training_nobody_else_draws_them(studio: Studio, pictures: ResultPictures) -> None:
    People(studio.database).add("ada", Role.TRAINER, "a long password")
    visitors = Visitors.over(studio.database, studio.settings, is_open=False)
    with acting(visitors.of("ada")):
        job = finish(studio, start(studio))
        studio.share(Kind.JOB, job.id)
    with acting(Visitor(name="eve", role=Role.TRAINER, kept=Owners(studio.database))):
        assert studio.jobs.get(job.id).name == job.name
        with pytest.raises(NotAllowed, match="isn't yours"):
            pictures.ask(job)
        assert "Draw three pictures" not in result_card(studio, job)
    assert pictures.of(job.id) is None
    with acting(visitors.of("ada")):
        assert "Draw three pictures" in result_card(studio, job)


def test_a_listener_that_fails_keeps_no_other_from_hearing(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def fail(job: JobRecord) -> None:
        raise RuntimeError("upset")

    endings, job = TrainingEndings(), start(studio)
    endings.add(fail)
    endings.add(lambda job: heard.append(job.id))
    endings(job)
    assert heard == [job.id]
    assert "upset" in caplog.text
    assert job.status is JobStatus.QUEUED


def test_whoever_logs_in_with_the_page_s_own_name_has_them_too(
    studio: Studio, pictures: ResultPictures
) -> None:
    with acting(Visitor(name="page", role=Role.TRAINER, kept=Owners(studio.database))):
        job = start(studio)
    pictures.after(finish(studio, job))
    assert len(told(pictures, job).paths) == 3
