"""Quotas of people: what counts, who is refused, and that the last place goes to one alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lora_studio.access.quotas import DEFAULTS, GB, Use, given_limits
from lora_studio.access.roles import Role
from lora_studio.access.visitor import STUDIO, Kind, Visitor, acting
from lora_studio.config import TrainConfig
from lora_studio.errors import ConfigError, QuotaReached
from lora_studio.events import Emit, ImageSaved, ShouldStop, Started, StepDone, Stopped
from lora_studio.jobs.generation_queue import GenerationQueue, GenerationResult
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from lora_studio.store.people import passwords
from lora_studio.store.people.visitors import Visitors
from lora_studio.store.trash import Trash
from lora_studio.studio import Studio
from tests.support.api_caller import write_lora, write_picture
from tests.support.waiting import PATIENCE

PASSWORD = "battery staple"
Configs = Callable[..., TrainConfig]


@pytest.fixture
def database(studio: Studio) -> Database:
    return studio.database


@pytest.fixture
def visitors(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Visitors:
    monkeypatch.setattr(passwords, "COST", 2)  # what a try costs is no matter here
    made = Visitors.over(database, settings, admin="studio", is_open=False)
    for name in ("ada", "bob"):
        made.people.add(name, Role.TRAINER, PASSWORD)
    return made


def limited(visitors: Visitors, name: str, **limits: int | None) -> Visitor:
    visitors.people.set_limits(name, {Use(use): most for use, most in limits.items()})
    return visitors.of(name)


def at_once(*acts: Callable[[], object]) -> list[QuotaReached | None]:
    """The outcome of each act, all begun together."""
    start, outcomes = threading.Barrier(len(acts)), dict[int, QuotaReached | None]()

    def run(number: int, act: Callable[[], object]) -> None:
        start.wait(PATIENCE)
        try:
            act()
            outcomes[number] = None
        except QuotaReached as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return [outcomes[number] for number in range(len(acts))]


def test_limits_are_the_role_s_until_an_admin_gives_others(visitors: Visitors) -> None:
    people = visitors.people
    ada = people.get("ada")
    assert [ada.limit(use) for use in Use] == [DEFAULTS[Role.TRAINER][use] for use in Use]
    limits = given_limits(["images=7", "disk=1.5", "steps=none"], ada.limits)
    ada = people.set_limits("ada", limits)
    assert (ada.limit(Use.IMAGES), ada.limit(Use.DISK), ada.limit(Use.STEPS)) == (7, 1.5 * GB, None)
    assert ada.limit(Use.TRAININGS) == DEFAULTS[Role.TRAINER][Use.TRAININGS]
    assert people.get("bob").limit(Use.IMAGES) == DEFAULTS[Role.TRAINER][Use.IMAGES]
    ada = people.set_limits("ada", given_limits(["images=default"], ada.limits))
    assert ada.limit(Use.IMAGES) == DEFAULTS[Role.TRAINER][Use.IMAGES]
    assert people.set_role("ada", Role.CREATOR).limit(Use.TRAININGS) == 0
    assert all(people.set_role("ada", Role.ADMIN).limit(use) is None for use in Use)


@pytest.mark.parametrize(
    "wrong", ["", "images", "images=", "images=-1", "images=1.5", "steps=many", "beer=1", "disk=1e400"]
)
def test_what_is_no_quota_is_a_sentence(wrong: str) -> None:
    with pytest.raises(ConfigError):
        given_limits([wrong], {})


def test_neither_an_admin_nor_who_sits_at_the_machine_has_one(
    visitors: Visitors, store: JobStore, config_named: Configs
) -> None:
    for number, name in enumerate((None, "studio")):
        present = STUDIO if name is None else visitors.of(name)
        with acting(present):
            for count in range(5):
                store.create(config_named(f"lora-{number}-{count}", steps=100_000))
        present.within(Use.IMAGES, 10**9)
    visitors.people.set_role("bob", Role.ADMIN)
    with acting(visitors.of("bob")):
        store.create(config_named("bobs", steps=100_000))


def test_trainings_that_wait_or_run_are_counted_for_each_person(
    visitors: Visitors, store: JobStore, config_named: Configs
) -> None:
    ada, bob = limited(visitors, "ada", trainings=1), visitors.of("bob")
    with acting(ada):
        job = store.create(config_named("first"))
        with pytest.raises(QuotaReached) as refused:
            store.create(config_named("second"))
        assert "1" in refused.value.message
        assert refused.value.hint
    with acting(bob):
        store.create(config_named("bobs"))
    with acting(ada):
        store.stop(job.id)
        other = store.create(config_named("third"))
        with pytest.raises(QuotaReached):
            store.resume(job.id)
        store.stop(other.id)
    assert {job.slug for job in store.jobs()} == {"first", "bobs", "third"}


def test_steps_are_counted_as_they_are_done_and_planned_ones_with_them(
    visitors: Visitors, store: JobStore, config_named: Configs
) -> None:
    ada, usage = limited(visitors, "ada", steps=100), visitors.usage
    with acting(ada):
        job = store.create(config_named("first", steps=60))
        assert usage.used(Use.STEPS, "ada") == 60
        with pytest.raises(QuotaReached):
            store.create(config_named("second", steps=41))
    store.append(job.id, Started(total_steps=60, phases=("train",), device="cpu", dtype="fp32"))
    for step in range(1, 11):
        done = {"loss": 0.1, "average_loss": 0.1, "learning_rate": 1e-4, "seconds": 0.1}
        store.append(job.id, StepDone(step=step, total_steps=60, **done))
    assert usage.used(Use.STEPS, "ada") == 60
    store.append(job.id, Stopped(step=10))
    assert usage.used(Use.STEPS, "ada") == 10
    assert usage.used(Use.STEPS, "bob") == 0
    with acting(ada):
        store.create(config_named("third", steps=90))
        with pytest.raises(QuotaReached):
            store.create(config_named("fourth", steps=1))


def test_the_last_place_of_a_training_goes_to_one_alone(
    visitors: Visitors, store: JobStore, config_named: Configs, database: Database
) -> None:
    """Two connections, as of two processes, and several threads each."""
    limited(visitors, "ada", trainings=2)
    with closing(Database(database.path)) as other:
        theirs = Visitors.over(other, is_open=False).of("ada")
        pairs = [(store, visitors.of("ada")), (JobStore(other), theirs)]

        def begin(number: int) -> None:
            jobs, present = pairs[number % 2]
            with acting(present):
                jobs.create(config_named(f"lora-{number}"))

        outcomes = at_once(*(partial(begin, number) for number in range(8)))
    assert outcomes.count(None) == 2
    assert len(store.jobs()) == 2


@pytest.fixture
def held() -> Any:
    """A queue whose generations draw two pictures each once they may."""
    may_go = threading.Event()

    def work(emit: Emit, should_stop: ShouldStop) -> GenerationResult:
        may_go.wait(PATIENCE)
        for number in range(2):
            if not should_stop():
                emit(ImageSaved(path=f"/{number}.png", image=number + 1, images=2, seed=1))
        return GenerationResult()

    queue = GenerationQueue()
    yield queue, work, may_go
    may_go.set()
    queue.close(PATIENCE)


def test_pictures_are_counted_when_they_are_asked_for_and_given_back_when_not_drawn(
    visitors: Visitors, held: Any
) -> None:
    queue, work, may_go = held
    ada, bob = limited(visitors, "ada", images=4), visitors.of("bob")
    with acting(ada):
        first = queue.submit(work, images=2)
        second = queue.submit(work, images=2)
        with pytest.raises(QuotaReached):
            queue.submit(work, images=1)
        queue.cancel(second.id)
        second = queue.submit(work, images=2)
    with acting(bob):
        others = queue.submit(work, images=2)
    may_go.set()
    with acting(STUDIO):
        for ticket in (first, second, others):
            queue.wait(ticket.id, PATIENCE)
    assert [visitors.usage.used(Use.IMAGES, name) for name in ("ada", "bob")] == [4, 2]
    with acting(ada), pytest.raises(QuotaReached):
        queue.submit(work, images=1)


def test_the_last_place_of_a_generation_goes_to_one_alone(visitors: Visitors, held: Any) -> None:
    queue, work, _ = held
    ada = limited(visitors, "ada", generations=2)

    def draw() -> None:
        with acting(ada):
            queue.submit(work, images=2)

    outcomes = at_once(*[draw] * 8)
    assert outcomes.count(None) == 2
    assert queue.count_of("ada") == 2
    assert queue.count_of("bob") == 0


def test_the_disk_is_what_a_person_keeps_and_no_more(
    visitors: Visitors, studio: Studio, tmp_path: Path
) -> None:
    picture, lora = write_picture(tmp_path / "a.png"), write_lora(tmp_path / "a.safetensors")
    ada, usage = limited(visitors, "ada", disk=10**6), visitors.usage
    assert usage.used(Use.DISK, "ada") == 0
    with acting(ada):
        record = studio.datasets.create("set", [picture])
        kept = usage.used(Use.DISK, "ada")
        assert kept >= (Path(record.path) / "a.png").stat().st_size
        studio.gallery.import_lora(lora)
        assert usage.used(Use.DISK, "ada") >= kept + lora.stat().st_size
    full = limited(visitors, "ada", disk=usage.used(Use.DISK, "ada"))
    with acting(full):
        for act in (
            lambda: studio.datasets.create("set", [picture]),
            lambda: studio.gallery.import_lora(write_lora(tmp_path / "b.safetensors", 0.1)),
            lambda: studio.links.add("https://localhost/a.safetensors"),
            lambda: studio.generation_queue.submit(lambda emit, should_stop: GenerationResult()),
        ):
            with pytest.raises(QuotaReached):
                act()
        trash = Trash(studio.settings.trash)
        token = studio.datasets.delete(record.id)
        with pytest.raises(QuotaReached, match="empty your trash"):
            studio.datasets.create("set", [picture])
        trash.purge(token)
        studio.datasets.create("set", [picture])
    assert usage.used(Use.DISK, "bob") == 0


def test_room_is_kept_for_one_while_it_is_written(visitors: Visitors) -> None:
    ada = limited(visitors, "ada", disk=100)
    inside, done = threading.Event(), threading.Event()

    def write() -> None:
        with ada.room(60):
            inside.set()
            done.wait(PATIENCE)

    writing = threading.Thread(target=write)
    writing.start()
    assert inside.wait(PATIENCE)
    with pytest.raises(QuotaReached), ada.room(60):
        pass
    with visitors.of("bob").room(60):
        pass
    done.set()
    writing.join(PATIENCE)
    with ada.room(60):
        pass


def test_what_somebody_removed_has_used_is_forgotten(visitors: Visitors) -> None:
    visitors.of("ada").spends(Use.IMAGES, 5)
    assert visitors.usage.used(Use.IMAGES, "ada") == 5
    visitors.people.remove("ada")
    assert visitors.usage.used(Use.IMAGES, "ada") == 0
    assert not visitors.owners.keys(Kind.JOB, "ada")
