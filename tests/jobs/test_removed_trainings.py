"""Ended trainings out of the history, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, Visitor, acting
from lora_studio.errors import NotAllowed, StoreError
from lora_studio.events import Finished, Paused, StateSaved, Stopped
from lora_studio.operations.storage_use import clean_up
from lora_studio.records import JobRecord
from lora_studio.store.job_lists import ended_jobs, ended_mark, jobs_by_status
from lora_studio.store.job_store import JobStore
from lora_studio.store.people.ownership import Owners
from lora_studio.store.trash import Trash
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.client_input import deleted_elsewhere
from lora_studio.ui.gallery.trash_tab import purge_one, trash_list
from lora_studio.ui.train import history_removal, train_tab
from lora_studio.ui.upload.example_pictures import example_files
from tests.support.html import parse
from tests.support.library_entries import slugs, write_result


def ended(studio: Studio, name: str, *events: object) -> JobRecord:
    dataset = studio.datasets.create(name, example_files("ink"))
    job = studio.trainings.start(StartTraining(dataset_id=dataset.id, name=name, kind="style"))
    folder, store = write_result(studio.settings, job.slug), JobStore(studio.database)
    studio.gallery.scan()
    for event in events or (Finished(path=str(folder), steps=3, seconds=1.0),):
        store.append(job.id, event)
    return store.get(job.id)


def listed(studio: Studio, search: str = "") -> list[str]:
    jobs, count = ended_jobs(studio.database, search)
    assert len(jobs) == count
    return [job.name for job in jobs]


def test_one_goes_and_comes_back_with_all_it_had(studio: Studio) -> None:
    first, second = ended(studio, "First"), ended(studio, "Second")
    log = studio.settings.jobs / first.id / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("words")
    mark = ended_mark(studio.database)
    token = studio.removed_trainings.remove(first.id)
    assert studio.removed_trainings.remove(first.id) == token
    assert listed(studio) == [job.name for job in studio.jobs.jobs()] == ["Second"]
    assert listed(studio, "first") == []
    assert jobs_by_status(studio.database)["finished"] == 1
    assert ended_mark(studio.database) != mark
    assert not log.exists()
    assert slugs(studio.gallery) == ["first", "second"], "the LoRA stays"
    assert train_tab.shown_job(studio, first.id) == second
    assert "First" in trash_list(studio)
    deleted_elsewhere.undo(studio, token)
    assert listed(studio) == ["Second", "First"]
    assert log.read_text() == "words"
    assert studio.jobs.events(first.id)[-1].event == Finished(path=first.result_path, steps=3, seconds=1.0)


def test_what_has_not_ended_stays(studio: Studio) -> None:
    dataset = studio.datasets.create("Waits", example_files("ink"))
    waiting = studio.trainings.start(StartTraining(dataset_id=dataset.id, name="Waits", kind="style"))
    paused = ended(studio, "Paused", StateSaved(step=3, path="s"), Paused(step=3))
    for job in (waiting, paused):
        with pytest.raises(StoreError, match="not ended"):
            studio.removed_trainings.remove(job.id)
    with pytest.raises(StoreError, match="no training"):
        studio.removed_trainings.remove("000000000000")


def test_what_is_in_the_trash_does_not_go_on(studio: Studio) -> None:
    job = ended(studio, "Stopped", StateSaved(step=3, path="s"), Stopped(step=3))
    (Path(job.config["output"]["output_dir"]) / "state").mkdir()
    token = studio.removed_trainings.remove(job.id)
    with pytest.raises(StoreError, match="resumed"):
        studio.jobs.resume(job.id)
    assert studio.removed_trainings.undo(token).resumable


@pytest.mark.parametrize("way", ["one", "all"])
def test_it_is_gone_for_good_with_its_events_and_no_other(studio: Studio, way: str) -> None:
    job, other = ended(studio, "Gone"), ended(studio, "Stays")
    token = studio.removed_trainings.remove(job.id)
    if way == "one":
        purge_one(studio, token)
    else:
        clean_up("trash", studio.settings, studio.database)
    for table, column in (("jobs", "id"), ("events", "job_id")):
        assert studio.database.read(f"SELECT 1 FROM {table} WHERE {column} = ?", (job.id,)) == []
    assert studio.database.read("SELECT 1 FROM outbox WHERE key = ?", (job.id,)) == []
    assert listed(studio) == [other.name]
    assert studio.jobs.events(other.id)
    with pytest.raises(StoreError, match="not in the trash"):
        purge_one(studio, token)


def test_each_removes_their_own(studio: Studio) -> None:
    owners = Owners(studio.database)
    ada, eve = (Visitor(name=name, role=Role.TRAINER, kept=owners) for name in ("ada", "eve"))
    with acting(ada):
        job = ended(studio, "Hers")
    owners.share(Kind.JOB, job.id, True)
    with acting(eve), pytest.raises(NotAllowed):
        studio.removed_trainings.remove(job.id)
    with acting(ada):
        token = studio.removed_trainings.remove(job.id)
    with acting(eve):
        assert studio.removed_trainings.deleted() == []
        with pytest.raises(StoreError):
            studio.removed_trainings.undo(token)
    with acting(ada):
        assert studio.removed_trainings.undo(token).name == "Hers"


def test_several_go_at_once_with_their_loras_if_asked(studio: Studio) -> None:
    jobs = [ended(studio, name) for name in ("One", "Two")]
    paused = ended(studio, "Paused", Paused(step=3))
    html = history_removal.removed(studio, [*(job.id for job in jobs), paused.id], with_loras=True)
    assert "2 trainings were removed. The training Paused has not ended" in html
    assert listed(studio) == []
    assert slugs(studio.gallery) == ["paused"]
    (button,) = parse(html).iter("button")
    for token in str(button.get("data-ids")).split(","):
        deleted_elsewhere.undo(studio, token)
    assert sorted(listed(studio)) == ["One", "Two"]
    assert slugs(studio.gallery) == ["one", "paused", "two"]
    with pytest.raises(StoreError, match="not ended"):
        history_removal.removed(studio, [paused.id])


def test_a_later_training_of_the_same_name_keeps_its_lora(studio: Studio) -> None:
    first = ended(studio, "One")
    studio.gallery.delete_lora(first.slug)
    second = ended(studio, "One")
    assert first.slug == second.slug
    history_removal.removed(studio, [first.id], with_loras=True)
    assert slugs(studio.gallery) == [second.slug]


def test_one_whose_way_back_is_cut_short_is_in_the_history(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended(studio, "One")
    token = studio.removed_trainings.remove(job.id)
    folder = studio.settings.jobs / job.id
    folder.mkdir()
    with pytest.raises(StoreError, match="is there again"):
        studio.removed_trainings.undo(token)
    assert listed(studio) == []
    folder.rmdir()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rmdir", killed)  # the last of what is done in the trash
        with pytest.raises(KeyboardInterrupt):
            studio.removed_trainings.undo(token)
    assert listed(studio) == ["One"]


def test_one_that_is_resumed_while_it_is_removed_goes_on(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended(studio, "Stopped", StateSaved(step=3, path="s"), Stopped(step=3))
    put = Trash.put

    def resumed_meanwhile(*given: Any) -> str:
        JobStore(studio.database).resume(job.id)
        return put(*given)

    monkeypatch.setattr(Trash, "put", resumed_meanwhile)
    with pytest.raises(StoreError, match="not ended: it is queued"):
        studio.removed_trainings.remove(job.id)
    assert studio.jobs.get(job.id).removed == ""
    assert (studio.settings.jobs / job.id).is_dir()
    assert studio.removed_trainings.deleted() == []
