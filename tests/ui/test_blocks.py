"""How the page is wired, and what a tick brings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from lora_studio.events import Finished, PreviewSaved, Started, StepDone
from lora_studio.records import JobRecord, LoraRecord
from lora_studio.store.job_store import JobStore
from lora_studio.store.library import Library
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.page import PROGRESS_SECONDS, QUEUE_SECONDS
from lora_studio.ui.refresh import PageRefresh
from lora_studio.ui.upload.example_pictures import example_files

SKIP = gr.skip()


@pytest.fixture
def job(studio: Studio) -> JobRecord:
    dataset = studio.datasets.create("Ink", example_files("ink"))
    return studio.trainings.start(StartTraining(dataset_id=dataset.id, name="Ink", kind="style"))


def test_nothing_keeps_a_connection_open(page: gr.Blocks) -> None:
    """No timer; what runs by itself is not queued; no State and no unload, which would bring a heartbeat."""
    config = page.get_config_file()
    kinds = [part["type"] for part in config["components"]]
    assert "timer" not in kinds
    assert "state" not in kinds
    events = {event for dependency in config["dependencies"] for _, event in dependency["targets"]}
    assert not events & {"unload", "stream"}
    for dependency in config["dependencies"]:
        alone = {event for _, event in dependency["targets"]} & {"tick", "load"}
        assert not (alone and dependency["queue"]), dependency["targets"]


def test_an_open_page_takes_no_more_memory_with_each_tick(page: gr.Blocks) -> None:
    tick = next(one for one in page.fns.values() if one.targets[0][1] == "tick" and len(one.inputs) > 1)
    state, known = SessionState(page), [part.value for part in tick.inputs]

    async def kept_after_ticks(count: int) -> tuple[int, int]:
        for _ in range(count):
            await page.process_api(tick, list(known), state=state)
        return len(state.blocks_config.blocks), len(state.config_values)

    before = asyncio.run(kept_after_ticks(1))
    assert asyncio.run(kept_after_ticks(3)) == before
    assert not any(state.config_values.values())
    assert page.get_config_file()["components"] == page.default_config.get_config()["components"] != []


def test_a_tick_that_brings_nothing_makes_no_component_anew(page: gr.Blocks) -> None:
    tick = next(one for one in page.fns.values() if one.targets[0][1] == "tick" and len(one.inputs) > 1)
    state, known = SessionState(page), [part.value for part in tick.inputs]

    def answers() -> list[Any]:
        return list(asyncio.run(page.process_api(tick, list(known), state=state))["data"])

    known[0] = answers()[0].root
    before = dict(state.blocks_config.blocks)
    seen, *others = answers()
    assert seen.root == known[0]
    assert others == [SKIP] * (len(tick.outputs) - 1)
    assert all(state.blocks_config.blocks[number] is part for number, part in before.items())


def test_a_queue_that_has_nothing_to_do_wakes_seldom(
    page: gr.Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, waits = page.queue()._queue, []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        queue.stopped = True

    monkeypatch.setattr("gradio.queueing.asyncio.sleep", sleep)
    for loop in (queue.start_processing, queue.start_progress_updates):
        queue.stopped = False
        asyncio.run(loop())
    assert waits == [QUEUE_SECONDS, PROGRESS_SECONDS]


def test_what_people_click_is_queued_so_that_errors_are_shown(page: gr.Blocks) -> None:
    config = page.get_config_file()
    asked = [
        d
        for d in config["dependencies"]
        if {event for _, event in d["targets"]} & {"click", "change", "upload"}
        and not (d["trigger_mode"] == "always_last" and not d["queue"])  # counts while somebody types
    ]
    assert len(asked) > 20
    assert all(dependency["queue"] for dependency in asked)
    assert all(dependency["api_visibility"] == "private" for dependency in asked)


def test_counts_of_captions_take_turns(page: gr.Blocks) -> None:
    counts = [one for one in page.fns.values() if one.name in ("count_words", "caption_words")]
    assert {(one.queue, one.concurrency_id, one.concurrency_limit) for one in counts} == {
        (True, "caption_words", "default")
    }
    assert len(counts) >= 2


def test_every_part_that_people_meet_has_an_id_and_a_name(page: gr.Blocks) -> None:
    shown = {"textbox", "dropdown", "radio", "checkbox", "slider", "button", "uploadbutton", "file", "number"}
    for part in page.get_config_file()["components"]:
        if part["type"] in shown:
            assert part["props"].get("elem_id"), part
        if part["type"] in shown and part["props"].get("visible") is not False:
            assert part["props"].get("label") or part["props"].get("value"), part


def look(live: PageRefresh, seen: Any, job: str = "", *shelves: Any) -> tuple[dict[str, Any], list[Any]]:
    painted = live.look(
        seen, job, "", "", "", "", *(shelves or ("", "", "", "1", "newest", "", "", "1", "")), "", []
    )
    assert set(painted) <= set(live.outputs)
    known, *updates = (painted.get(part, SKIP) for part in live.outputs)
    return known, updates


def test_an_unchanged_studio_sends_nothing(live: PageRefresh, job: JobRecord) -> None:
    seen, first = look(live, None)
    assert SKIP not in first[: -len(live.held)]
    again, second = look(live, seen)
    assert again == seen
    assert all(update == SKIP for update in second)


def test_of_an_unchanged_library_nothing_is_read(live: PageRefresh, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, _ = look(live, None)
    for name in ("loras", "listed_loras", "images", "datasets"):
        monkeypatch.delattr(Library, name)
    again, updates = look(live, seen)
    assert again == seen
    assert all(update == SKIP for update in updates)


def test_only_the_shelf_that_changed_is_sent(live: PageRefresh, studio: Studio) -> None:
    library = Library(studio.database)

    def sent(seen: Any, *shelves: Any) -> tuple[Any, set[Any]]:
        seen, updates = look(live, seen, "", *shelves)
        return seen, {part for part, new in zip(live.outputs[1:], updates, strict=True) if new != SKIP}

    seen, _ = look(live, None)
    library.put_lora(LoraRecord(id="x", slug="shelf", title="x", path="", family="", base=""))
    try:
        seen, parts = sent(seen)
        gallery, choice = live.gallery, live.generate.loras
        assert parts == {gallery.loras.grid, gallery.filters, choice, live.revision}
        _, parts = sent(seen, "", "", "", "1", "newest", "", "words", "1", "")
        assert parts >= {live.gallery.images.grid, live.gallery.images.details}  # nothing is found
        assert live.gallery.loras.grid not in parts
    finally:
        library.remove_lora("shelf")


def test_what_the_browser_carries_does_not_grow_with_the_library(live: PageRefresh, studio: Studio) -> None:
    library = Library(studio.database)

    def carried(slugs: list[str]) -> str:
        for slug in slugs:
            library.put_lora(LoraRecord(id=slug, slug=slug, title=slug, path="", family="", base=""))
        return json.dumps(look(live, None)[0])

    slugs = [f"carried-{number}" for number in range(60)]
    try:
        few, many = carried(slugs[:2]), carried(slugs)
    finally:
        for slug in slugs:
            library.remove_lora(slug)
    assert few != many
    assert len(many) < len(few) + 20  # a few digits


@pytest.mark.parametrize("wrap", [lambda file: file, lambda file: [file, file], lambda file: {"a": [file]}])
@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x.png", "https://example.invalid/x.png"])
def test_nothing_is_fetched_from_an_address_that_a_client_sends(
    page: gr.Blocks, address: str, wrap: Callable[[Any], Any]
) -> None:
    function = next(one for one in page.fns.values() if one.api_name == "read_settings")
    file = {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(gr.Error, match="address"):
        asyncio.run(page.preprocess_data(function, [wrap(file)], None))


def test_a_page_that_sends_nonsense_is_painted_anew(live: PageRefresh) -> None:
    for seen in ("x", 7, [], {"revision": "x"}, {"library": 3, "previews": None}):
        _, updates = look(live, seen)
        assert SKIP not in updates[: -len(live.held)]


def test_a_running_job_is_shown_until_another_one_is_chosen(
    live: PageRefresh, studio: Studio, job: JobRecord
) -> None:
    later = studio.jobs.again(job.id)
    store = JobStore(studio.database)
    store.claim(job.id, "test")
    store.append(job.id, Started(total_steps=10, phases=("train",), device="cpu", dtype="fp32"))
    store.append(
        job.id, StepDone(step=3, total_steps=10, loss=0.5, average_loss=0.5, learning_rate=1.0, seconds=1.0)
    )
    seen, updates = look(live, None)
    painted = dict(zip(live.outputs[1:], updates, strict=True))
    assert painted[live.strip.row]["visible"] is True
    assert painted[live.strip.job] == job.id
    assert "1 waiting" in painted[live.strip.text]
    assert f'data-job="{job.id}"' in painted[live.train.card]
    assert "3 / 10" in painted[live.train.card]
    assert painted[live.train.use]["visible"] is False
    _, updates = look(live, seen, later.id)
    assert f'data-job="{later.id}"' in dict(zip(live.outputs[1:], updates, strict=True))[live.train.card]


def test_previews_are_sent_only_when_there_are_more(
    live: PageRefresh, studio: Studio, job: JobRecord
) -> None:
    store = JobStore(studio.database)
    store.claim(job.id, "test")
    saved = PreviewSaved(step=5, path="/m/a.png", base_path="/m/b.png", prompt="a cat", seed=1)
    store.append(job.id, saved)
    seen, updates = look(live, None)
    previews = live.outputs[1:].index(live.train.previews)
    assert "a cat" in updates[previews]
    store.append(job.id, replace_step(6))
    seen, updates = look(live, seen)
    assert updates[previews] == SKIP
    store.append(job.id, replace(saved, step=10))
    _, updates = look(live, seen)
    assert 'data-step="10"' in updates[previews]


def replace_step(step: int) -> StepDone:
    return StepDone(step=step, total_steps=10, loss=0.5, average_loss=0.5, learning_rate=1.0, seconds=1.0)


def test_a_finished_job_can_be_used_and_a_failed_one_repeated(
    live: PageRefresh, studio: Studio, job: JobRecord
) -> None:
    store = JobStore(studio.database)
    store.claim(job.id, "test")
    folder = studio.settings.loras / "ink"
    folder.mkdir(parents=True)
    store.append(job.id, Finished(path=str(folder), steps=10, seconds=1.0))
    _, updates = look(live, None)
    painted = dict(zip(live.outputs[1:], updates, strict=True))
    assert (painted[live.train.use]["visible"], painted[live.train.again]["visible"]) == (True, False)
    assert painted[live.strip.row]["visible"] is False
