"""What the page says of trainings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lora_studio.events import Event, PhaseAdvanced, PreviewSaved, Started
from lora_studio.records import JobRecord, JobStatus, StoredEvent
from lora_studio.ui.train import queue_views, training_views
from tests.support.html import NASTY, parse

JOB = JobRecord(
    id="a1b2c3",
    name="Ink drawings",
    status=JobStatus.RUNNING,
    config={},
    created_at=1000.0,
    started_at=1010.0,
    progress=42.7,
    step=80,
    total_steps=200,
    phase="train",
    loss=0.12345,
    seconds_left=33.4,
)


def stored(*events: Event) -> list[StoredEvent]:
    return [StoredEvent(sequence=number, at=0.0, event=event) for number, event in enumerate(events, 1)]


def preview(step: int, prompt: str = "a cat") -> PreviewSaved:
    return PreviewSaved(
        step=step, path=f"/m/lora {step}.png", base_path=f"/m/base{step}.png", prompt=prompt, seed=1
    )


def test_the_card_says_what_is_going_on() -> None:
    events = stored(
        Started(
            total_steps=200, phases=("load", "cache", "train", "preview", "save"), device="cpu", dtype="fp32"
        ),
        PhaseAdvanced(phase="load", done=1, total=1),
        PhaseAdvanced(phase="cache", done=5, total=10),
    )
    root = parse(training_views.job_card(JOB, events))
    text = " ".join("".join(root.itertext()).split())
    assert "running Ink drawings about 35 s left 42 % Training … step 80 of 200" in text
    (bar,) = root.findall(".//*[@role='progressbar']")
    assert (bar.get("aria-label"), bar.get("aria-valuenow")) == ("Training Ink drawings", "42")
    assert [" ".join("".join(item.itertext()).split()) for item in root.findall(".//li")] == [
        "Loading the base",
        "Preparing pictures 50 %",
        "Training 80 / 200",
        "Previews",
        "Saving",
    ]
    assert [item.get("class") for item in root.findall(".//li")] == [
        "done",
        "waiting",
        "active",
        "waiting",
        "waiting",
    ]


@pytest.mark.parametrize(("done", "said"), [(0, ""), (30, "39 %"), (77, "")])
def test_what_is_prepared_is_no_number_that_nobody_uploaded(done: int, said: str) -> None:
    events = stored(
        Started(total_steps=200, phases=("cache",), device="cpu", dtype="fp32"),
        PhaseAdvanced(phase="cache", done=done, total=77),
    )
    assert training_views.phases(replace(JOB, phase="cache"), events)[0].count == said


def test_the_bar_of_previews_shows_the_round_while_it_is_drawn_and_the_run_otherwise() -> None:
    events = stored(
        Started(total_steps=200, phases=("preview",), device="cpu", dtype="fp32"),
        PhaseAdvanced(phase="preview", done=15, total=20),
    )
    assert training_views.phases(replace(JOB, phase="preview"), events)[0].percent == 75
    assert training_views.phases(replace(JOB, phase="train"), events)[0].percent == 40
    assert training_views.phases(replace(JOB, status=JobStatus.FINISHED), events)[0].percent == 100


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": JobStatus.QUEUED, "phase": "", "step": 0}, "Waiting for its turn."),
        ({"status": JobStatus.STOPPING}, "Stopping after this step; what was learned so far is kept."),
        ({"status": JobStatus.FINISHED, "message": "a note from before"}, "Your LoRA is ready."),
        ({"status": JobStatus.STOPPED, "result_path": "/m/ink"}, "Stopped at step 80, kept."),
        ({"status": JobStatus.STOPPED, "step": 0}, "Stopped before it began."),
        ({"status": JobStatus.FAILED, "message": "The disk is full."}, "The disk is full."),
        ({"status": JobStatus.RUNNING, "phase": "cache"}, "Preparing pictures …"),
        ({"status": JobStatus.RUNNING, "phase": "unheard-of"}, "Unheard-of …"),
        ({"status": JobStatus.RUNNING, "message": "flip_aug is ignored."}, "Training … step 80 of 200"),
    ],
)
def test_a_sentence_for_each_state(changes: dict[str, object], said: str) -> None:
    assert training_views.sentence(replace(JOB, **changes)) == said


def test_a_remark_stands_beside_the_sentence_and_does_not_repeat_it() -> None:
    noted = replace(JOB, message="flip_aug is ignored.")
    assert training_views.remark(noted) == "“Mirror pictures” is ignored."
    failed = replace(JOB, status=JobStatus.FAILED, message="The disk is full.")
    assert training_views.remark(failed) == ""
    assert training_views.remark(replace(failed, hint="Free some space.")) == "Free some space."


def test_percent_is_whole_and_100_only_at_the_end() -> None:
    assert training_views.percent(replace(JOB, progress=99.9)) == 99
    assert training_views.percent(replace(JOB, progress=100.0, status=JobStatus.STOPPING)) == 99
    assert training_views.percent(replace(JOB, progress=97.0, status=JobStatus.FINISHED)) == 100


def test_the_spoken_text_changes_each_ten_percent_only() -> None:
    said = {training_views.spoken(replace(JOB, progress=value / 10, step=value)) for value in range(1000)}
    assert len(said) == 10
    assert training_views.spoken(replace(JOB, progress=42.7)) == "Training Ink drawings: 40 percent."
    assert (
        training_views.spoken(replace(JOB, status=JobStatus.FINISHED))
        == "Training Ink drawings: Your LoRA is ready."
    )
    assert training_views.spoken(None) == ""


def test_time_at_work_is_so_far_while_a_training_can_go_on() -> None:
    rested = replace(JOB, status=JobStatus.PAUSED, finished_at=1250.0)
    assert training_views.time_left(rested) == "4 min so far"
    assert training_views.time_left(replace(rested, status=JobStatus.STOPPED)) == "took 4 min"


def test_those_that_wait_say_when_their_turn_is() -> None:
    waiting = [replace(JOB, id=name, name=name, status=JobStatus.QUEUED) for name in ("first", "second")]
    lengths = {"first": 120.0, "second": 60.0}
    html = queue_views.line([JOB, *waiting], "first", lambda job: lengths.get(job.id, 0.0))
    root = parse(html)
    texts = [" ".join("".join(item.itertext()).split()) for item in root.iter("li")]
    assert "in about 33 s" in texts[1]
    assert "in about 3 min" in texts[2]
    moves = [
        (button.get("data-id"), button.get("data-by"), button.get("disabled") is not None)
        for button in root.iter("button")
        if button.get("data-action") == "edit"
    ]
    assert moves == [
        ("first", "-1", True), ("first", "1", False), ("second", "-1", False), ("second", "1", True),
    ]  # fmt: skip
    paused = parse(queue_views.line([replace(JOB, status=JobStatus.PAUSED)], "", lambda job: 0.0))
    assert [button.get("data-action") for button in paused.iter("button")] == ["click", "delete"]
    unknown = parse(queue_views.line([JOB, *waiting], "", lambda job: 0.0))
    assert ["in about" in "".join(item.itertext()) for item in unknown.iter("li")] == [False, True, False]


def test_the_history_says_how_many_there_are() -> None:
    ended = replace(JOB, status=JobStatus.FINISHED)
    some = queue_views.history([ended], "", found=301, following=60)
    assert "History · 301 trainings" in some
    assert 'data-limit="60"' in some
    assert "Show more" not in queue_views.history([ended], "", found=1, following=60)
    assert "No training is found by “fox”" in queue_views.history([], "", found=0, search=" fox ")


def test_training_pictures_stand_beside_the_previews() -> None:
    root = parse(training_views.previews(stored(preview(50)), "Ink", ["/t/a.webp"]))
    assert [image.get("alt") for image in root.iter("img")][:1] == ["Training picture 1"]


def test_previews_come_in_pairs_newest_checkpoint_first() -> None:
    root = parse(training_views.previews(stored(preview(50), preview(50, "a dog"), preview(100)), "Ink"))
    assert [section.get("data-step") for section in root.iter("section")] == ["100", "50"]
    pictures = [(image.get("src"), image.get("alt")) for image in root.iter("img")]
    assert pictures[:2] == [
        ("gradio_api/file=/m/base100.png", "Base model alone"),
        ("gradio_api/file=/m/lora%20100.png", "With Ink at step 100"),
    ]
    assert len(pictures) == 6
    assert all(alt for _, alt in pictures)
    assert training_views.previews([], "Ink") == ""


@pytest.mark.parametrize("is_running", [True, False])
def test_earlier_previews_are_unfolded_only_while_it_trains(is_running: bool) -> None:
    two = stored(preview(50), preview(100))
    (earlier,) = parse(training_views.previews(two, "Ink", is_running=is_running)).iter("details")
    assert (earlier.get("open") is not None) == is_running
    assert [section.get("data-step") for section in earlier.iter("section")] == ["50"]


def test_step_0_is_the_base_alone_until_there_is_something_to_compare() -> None:
    alone = parse(training_views.previews(stored(preview(0)), "Ink"))
    assert [image.get("alt") for image in alone.iter("img")] == ["Base model alone"]
    later = parse(training_views.previews(stored(preview(0), preview(5)), "Ink"))
    assert [section.get("data-step") for section in later.iter("section")] == ["5"]


def test_what_people_wrote_stays_text() -> None:
    job = replace(JOB, name=NASTY, status=JobStatus.FAILED, message=NASTY, hint=NASTY)
    pages = [
        training_views.job_card(job, []),
        training_views.strip(job, 2),
        training_views.speech(job),
        queue_views.history([job], "", search=NASTY),
        queue_views.line([job, replace(job, status=JobStatus.QUEUED)], "", lambda job: 60.0),
        training_views.previews(stored(preview(1, NASTY)), NASTY),
    ]
    for html in pages:
        root = parse(html)
        whole = "".join(root.itertext()) + "".join(
            value for item in root.iter() for value in item.attrib.values()
        )
        assert NASTY in whole
        assert not [item for item in root.iter() if "onerror" in item.attrib or item.get("src") == "x"]


def test_the_strip_is_empty_when_nothing_runs() -> None:
    assert training_views.strip(None) == ""
    assert "42 % · about 35 s left · 2 waiting" in " ".join(training_views.strip(JOB, 2).split())


def test_the_history_marks_what_is_shown() -> None:
    other = replace(JOB, id="other", name="Second", status=JobStatus.FINISHED)
    root = parse(queue_views.history([other, JOB], shown=JOB.id))
    assert [b.get("data-id") for b in root.iter("button") if b.get("data-action") == "select"] == ["other"]
    buttons = root.findall(".//button[@class='row']")
    assert [button.get("data-id") for button in buttons] == ["other", JOB.id]
    assert [button.get("aria-pressed") for button in buttons] == [None, "true"]
    assert [button.get("aria-label") for button in buttons] == [
        "Show the training Second",
        "Show the training Ink drawings",
    ]
