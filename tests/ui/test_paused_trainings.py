"""The line above the tabs: which trainings wait for somebody, and what can be done with each."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from lora_studio.events import Paused, Started, StateSaved, StepDone, Stopped
from lora_studio.records import JobRecord, JobStatus
from lora_studio.store.job_store import JobStore
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.refresh import PageRefresh
from lora_studio.ui.train import paused_trainings
from lora_studio.ui.upload.example_pictures import example_files
from tests.support.html import parse
from tests.support.library_entries import write_result

STATE = StateSaved(step=3, path="s")


def ended(studio: Studio, name: str, *events: Any) -> JobRecord:
    """A training at step 3 of 10 that has come to this, with its state and a LoRA on the disk."""
    dataset = studio.datasets.create(name, example_files("ink"))
    job = studio.trainings.start(StartTraining(dataset_id=dataset.id, name=name, kind="style"))
    folder, store = write_result(studio.settings, job.slug), JobStore(studio.database)
    (folder / "state").mkdir()
    store.claim(job.id, "test")
    step = StepDone(step=3, total_steps=10, loss=0.5, average_loss=0.5, learning_rate=1.0, seconds=1.0)
    started = Started(total_steps=10, phases=("train",), device="cpu", dtype="fp32")
    for event in (started, step, STATE, *events):
        store.append(job.id, event)
    return store.get(job.id)


def stopped(studio: Studio, name: str) -> JobRecord:
    return ended(studio, name, Stopped(step=3, path=str(studio.settings.loras / name.lower())))


def interrupted(studio: Studio, name: str) -> JobRecord:
    job = ended(studio, name)
    studio.database.change("UPDATE jobs SET owner = ? WHERE id = ?", ("gone", job.id))
    (found,) = JobStore(studio.database).interrupt_orphans("me")
    return found


def buttons(studio: Studio) -> dict[str, list[str]]:
    """The words of the buttons of each training in the line, by its name."""
    html = paused_trainings.paused_line(studio)
    rows = parse(html).findall(".//li[@data-job]") if html else []
    return {row.findtext(".//b") or "": [one.text or "" for one in row.findall(".//button")] for row in rows}


def test_each_kind_has_its_buttons_and_its_words(studio: Studio) -> None:
    assert paused_trainings.paused_line(studio) == ""
    interrupted(studio, "Cut")
    ended(studio, "Waits", Paused(step=3))
    stopped(studio, "Halted")
    assert buttons(studio) == {
        "Halted": ["Use it", "Undo", "Show", "×"],
        "Waits": ["Go on", "End it", "Show"],
        "Cut": ["Go on", "End it", "Show"],
    }
    text = " ".join("".join(parse(paused_trainings.paused_line(studio)).itertext()).split())
    assert "Halted Stopped at step 3, kept." in text
    assert "Waits Paused at step 3 of 10." in text
    assert "Cut Interrupted at step 3 of 10: the studio ended while it ran." in text


def test_a_stop_is_news_for_a_while_and_until_something_else_ends(studio: Studio) -> None:
    job = stopped(studio, "Halted")
    now = time.time()
    assert paused_trainings.waiting_trainings(studio, now) == [job]
    assert paused_trainings.waiting_trainings(studio, now + paused_trainings.JUST_SECONDS) == []
    later = stopped(studio, "Later")
    assert paused_trainings.waiting_trainings(studio, now) == [later]


def test_what_is_deleted_offers_nothing(studio: Studio) -> None:
    stopped(studio, "Halted")
    studio.gallery.scan()
    studio.gallery.delete_lora("halted")
    assert paused_trainings.paused_line(studio) == ""


def test_few_are_shown_and_the_others_counted(studio: Studio) -> None:
    for number in range(5):
        ended(studio, f"Waits {number}", Paused(step=3))
    assert len(buttons(studio)) == 3
    assert "2 more trainings wait on Train." in paused_trainings.paused_line(studio)


def test_clicks_show_go_on_and_end(studio: Studio) -> None:
    with gr.Blocks() as blocks:
        line, job, tabs = paused_trainings.render(), gr.Textbox(), gr.Tabs()
        paused_trainings.listen(line, job, tabs, studio)
    clicks = {one.targets[0][1]: one.fn for one in blocks.fns.values()}
    cut, halted = interrupted(studio, "Cut"), stopped(studio, "Halted")
    assert clicks["click"](SimpleNamespace(id=cut.id))[0] == cut.id
    assert clicks["undo"](SimpleNamespace(id=halted.id)) == halted.id
    assert studio.jobs.get(halted.id).status is JobStatus.QUEUED
    assert clicks["delete"](SimpleNamespace(id=cut.id)) == cut.id
    assert studio.jobs.get(cut.id).status is JobStatus.STOPPED
    assert studio.jobs.get(cut.id).resumable, "what was ended by mistake can still go on"
    for wrong in (None, "../x", "000000000000"):
        for act in clicks.values():
            with pytest.raises(gr.Error, match="training"):
                act(SimpleNamespace(id=wrong))


def test_an_unchanged_line_is_not_sent_with_each_step(studio: Studio, live: PageRefresh) -> None:
    ended(studio, "Waits", Paused(step=3))
    running = ended(studio, "Runs")
    given = ("", "", "", "", "", *("", "", "", "1", "newest", "", "", "1", ""), "", [])
    first = live.look(None, *given)
    assert "Waits" in first[live.strip.paused]
    step = StepDone(step=4, total_steps=10, loss=0.5, average_loss=0.5, learning_rate=1.0, seconds=1.0)
    JobStore(studio.database).append(running.id, step)
    second = live.look(first[live.seen], *given)
    assert live.strip.text in second
    assert live.strip.paused not in second
    JobStore(studio.database).append(running.id, replace(Paused(step=4)))
    third = live.look(second[live.seen], *given)
    assert "Runs" in third[live.strip.paused]
