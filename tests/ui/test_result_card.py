"""The end of a training on the page: its first pictures, and what is said where there are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Kind, Visitor, acting
from lora_studio.events import Emit, Finished, ResultDrawn, ShouldStop
from lora_studio.jobs.generation_queue import GenerationResult
from lora_studio.records import JobRecord
from lora_studio.store.job_store import JobStore
from lora_studio.store.people.ownership import Owners
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.refresh import PageRefresh
from lora_studio.ui.train import result_card
from lora_studio.ui.upload.example_pictures import example_files
from tests.support.html import parse
from tests.support.library_entries import draw, write_result
from tests.support.waiting import PATIENCE, until

SKIP = gr.skip()


@pytest.fixture
def job(studio: Studio) -> JobRecord:
    dataset = studio.datasets.create("Ink", example_files("ink"))
    return studio.trainings.start(StartTraining(dataset_id=dataset.id, name="Ink", kind="style"))


@pytest.fixture
def ready(studio: Studio, job: JobRecord) -> Iterator[JobRecord]:
    folder = write_result(studio.settings, job.slug)
    studio.gallery.scan()
    yield told(studio, job, Finished(path=str(folder), steps=10, seconds=1.0))
    studio.generation_queue.close(PATIENCE)


def told(studio: Studio, job: JobRecord, event: object) -> JobRecord:
    store = JobStore(studio.database)
    store.append(job.id, event)
    return store.get(job.id)


def text(studio: Studio, job: JobRecord) -> str:
    return " ".join("".join(parse(result_card.result_card(studio, job)).itertext()).split())


def test_only_a_training_that_ended_well_has_a_card(studio: Studio, job: JobRecord) -> None:
    assert result_card.result_card(studio, job) == ""


def test_pictures_are_shown_with_their_prompts_and_the_word_to_use(studio: Studio, ready: JobRecord) -> None:
    paths = [draw(studio.settings, f"<b>{number}</b>", number).path for number in range(3)]
    prompts = tuple(f"<b>{number}</b>" for number in range(3))
    job = told(studio, ready, ResultDrawn(paths=tuple(paths), prompts=prompts))
    root = parse(result_card.result_card(studio, job))
    assert [picture.get("alt") for picture in root.findall(".//img")] == list(prompts)
    assert root.findall(".//button") == []
    assert f"Write {job.config['dataset']['trigger_word']} where your subject" in text(studio, job)
    Path(paths[0]).unlink()
    assert len(parse(result_card.result_card(studio, job)).findall(".//img")) == 2
    assert "Some of the first pictures with it were deleted." in text(studio, job)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (None, ""),
        (ResultDrawn(message="The memory was not enough."), "The memory was not enough."),
        (ResultDrawn(ticket="0123456789ab"), "The first pictures with it were not drawn."),
    ],
)
def test_without_pictures_one_click_asks_for_them(
    studio: Studio, ready: JobRecord, event: ResultDrawn | None, said: str
) -> None:
    job = told(studio, ready, event) if event else ready
    assert said in text(studio, job)
    (button,) = parse(result_card.result_card(studio, job)).findall(".//button")
    assert (button.text, button.get("data-id")) == ("Draw three pictures", job.id)


def test_a_page_follows_the_drawing_and_is_told_nothing_else(
    studio: Studio, ready: JobRecord, live: PageRefresh
) -> None:
    """While pictures come in, the card alone is painted anew."""
    steps = [0]

    def work(emit: Emit, should_stop: ShouldStop) -> GenerationResult:
        until(lambda: steps[0] or should_stop())
        return GenerationResult()

    ticket = studio.generation_queue.submit(work, images=3)
    job = told(studio, ready, ResultDrawn(ticket=ticket.id))
    until(lambda: studio.generation_queue.running())
    given = (job.id, "", "", "", "", *("", "", "", "1", "newest", "", "", "1", ""), "", [])
    first = live.look(None, *given)
    assert "Pictures with it are being drawn: 0 of 3." in first[live.train.ready]
    assert live.train.card not in live.look(first[live.seen], *given)
    steps[0] = 1
    until(lambda: not studio.generation_queue.ticket(ticket.id).state.active)
    after = live.look(first[live.seen], *given)
    assert "were not drawn" in after[live.train.ready]


def test_of_another_training_s_steps_only_the_list_is_sent(
    studio: Studio, ready: JobRecord, live: PageRefresh
) -> None:
    dataset = studio.datasets.create("Two", example_files("ink"))
    given = (ready.id, "", "", "", "", *("", "", "", "1", "newest", "", "", "1", ""), "", [])
    seen = live.look(None, *given)[live.seen]
    studio.trainings.start(StartTraining(dataset_id=dataset.id, name="Two", kind="style"))
    after = live.look(seen, *given)
    sent = {part for part in live.train.live if after.get(part, SKIP) != SKIP}
    assert sent == {live.train.line}


def test_what_a_client_makes_up_draws_nothing(studio: Studio, job: JobRecord) -> None:
    with gr.Blocks() as blocks:
        result_card.listen(result_card.render(), studio)
    draw_result = next(iter(blocks.fns.values())).fn
    for wrong in (None, "../x", "000000000000", job.id):
        with pytest.raises(gr.Error, match="training"):
            draw_result(SimpleNamespace(id=wrong))
    assert studio.generation_queue.tickets() == []


def test_who_may_only_look_is_offered_no_drawing(studio: Studio, ready: JobRecord) -> None:
    owners = Owners(studio.database)
    owners.share(Kind.JOB, ready.id, True)
    with acting(Visitor(name="eve", role=Role.TRAINER, kept=owners)):
        assert "<button" not in result_card.result_card(studio, ready)
