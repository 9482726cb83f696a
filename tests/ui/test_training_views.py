"""What the page says of trainings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lora_studio.events import Event, PhaseAdvanced, PreviewSaved, Started, Validated
from lora_studio.records import JobRecord, JobStatus, StoredEvent
from lora_studio.ui.train import training_views
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
    root = parse(training_views.job_card(JOB, events, now=1075.0))
    text = " ".join("".join(root.itertext()).split())
    assert "running Ink drawings about 33 s left 42 % Training …" in text
    assert "step 80 / 200" in text
    assert "loss 0.1235" in text
    assert "time 1 min 5 s" in text
    bars = root.findall(".//*[@role='progressbar']")
    assert [bar.get("aria-label") for bar in bars] == [
        "Training Ink drawings",
        "Loading the base",
        "Preparing pictures",
        "Training",
        "Previews",
        "Saving",
    ]
    assert [bar.get("aria-valuenow") for bar in bars] == ["42", "100", "50", "40", "40", "0"]
    assert [item.get("class") for item in root.findall(".//li")] == [
        "done",
        "waiting",
        "active",
        "waiting",
        "waiting",
    ]


def test_the_bar_of_previews_shows_the_round_while_it_is_drawn_and_the_run_otherwise() -> None:
    events = stored(
        Started(total_steps=200, phases=("preview",), device="cpu", dtype="fp32"),
        PhaseAdvanced(phase="preview", done=15, total=20),
    )
    assert training_views.phase_bars(replace(JOB, phase="preview"), events)[0].percent == 75
    assert training_views.phase_bars(replace(JOB, phase="train"), events)[0].percent == 40
    assert training_views.phase_bars(replace(JOB, status=JobStatus.FINISHED), events)[0].percent == 100


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": JobStatus.QUEUED, "phase": "", "step": 0}, "Waiting for its turn."),
        ({"status": JobStatus.STOPPING}, "Stopping after this step; what was learned so far is kept."),
        ({"status": JobStatus.FINISHED, "message": "a note from before"}, "Your LoRA is ready."),
        (
            {"status": JobStatus.STOPPED, "result_path": "/m/ink"},
            "Stopped at step 80 of 200. What it had learned is kept.",
        ),
        ({"status": JobStatus.STOPPED, "step": 0}, "Stopped. Nothing was learned yet."),
        ({"status": JobStatus.FAILED, "message": "The disk is full."}, "The disk is full."),
        ({"status": JobStatus.RUNNING, "phase": "cache"}, "Preparing pictures …"),
        ({"status": JobStatus.RUNNING, "phase": "unheard-of"}, "Unheard-of …"),
        ({"status": JobStatus.RUNNING, "message": "flip_aug is ignored."}, "Training …"),
    ],
)
def test_a_sentence_for_each_state(changes: dict[str, object], said: str) -> None:
    assert training_views.sentence(replace(JOB, **changes)) == said


def test_a_remark_stands_beside_the_sentence_and_does_not_repeat_it() -> None:
    assert training_views.remark(replace(JOB, message="flip_aug is ignored.")) == "flip_aug is ignored."
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


def test_previews_come_in_pairs_newest_checkpoint_first() -> None:
    root = parse(training_views.previews(stored(preview(50), preview(50, "a dog"), preview(100)), "Ink"))
    assert [section.get("data-step") for section in root.iter("section")] == ["100", "50"]
    pictures = [(image.get("src"), image.get("alt")) for image in root.iter("img")]
    assert pictures[:2] == [
        ("gradio_api/file=/m/base100.png", "Base model alone: a cat"),
        ("gradio_api/file=/m/lora%20100.png", "With Ink at step 100: a cat"),
    ]
    assert len(pictures) == 6
    assert all(alt for _, alt in pictures)
    assert training_views.previews([], "Ink") == ""


def test_step_0_is_the_base_alone_until_there_is_something_to_compare() -> None:
    alone = parse(training_views.previews(stored(preview(0)), "Ink"))
    assert [image.get("alt") for image in alone.iter("img")] == ["Base model alone: a cat"]
    later = parse(training_views.previews(stored(preview(0), preview(5)), "Ink"))
    assert [section.get("data-step") for section in later.iter("section")] == ["5"]


def test_the_chart_stays_within_its_frame_whatever_the_losses() -> None:
    points = [(step, 0.1 if step != 70 else 900.0) for step in range(1, 201)]
    html = training_views.loss_chart(points, total_steps=400)
    root = parse(html)
    for line in root.iter("polyline"):
        pairs = [tuple(map(float, pair.split(","))) for pair in str(line.get("points")).split()]
        assert len(pairs) == 200
        assert all(0 <= x <= 300.1 and 0 <= y <= 160 for x, y in pairs)
    assert "400 steps" in html
    assert training_views.loss_chart([(1, 0.5)], 10) == ""


def test_the_chart_shows_the_losses_on_pictures_held_back() -> None:
    points = [(step, 0.1) for step in range(1, 101)]
    measured = [
        Validated(step=step, loss=loss, base_loss=0.2) for step, loss in ((0, 0.2), (50, 0.15), (100, 0.1))
    ]
    root = parse(training_views.loss_chart(points, 100, measured))
    lines = {line.get("class"): str(line.get("points")).split() for line in root.iter("polyline")}
    assert [pair.split(",")[0] for pair in lines["held-out"]] == ["0.0", "300.0", "600.0"]
    assert "pictures held back (0.1000)" in training_views.loss_chart(points, 100, measured)
    assert "held" not in training_views.loss_chart(points, 100)


def test_the_moving_mean() -> None:
    assert training_views.moving_mean([2.0, 4.0, 6.0, 8.0], 2) == [2.0, 3.0, 5.0, 7.0]
    assert training_views.moving_mean([1.0, 1.0], 5) == [1.0, 1.0]


def test_what_people_wrote_stays_text() -> None:
    job = replace(JOB, name=NASTY, status=JobStatus.FAILED, message=NASTY, hint=NASTY)
    pages = [
        training_views.job_card(job, [], 0.0),
        training_views.strip(job, 2),
        training_views.speech(job),
        training_views.history([job], ""),
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
    assert "42 % · about 33 s left · 2 waiting" in " ".join(training_views.strip(JOB, 2).split())


def test_the_history_marks_what_is_shown() -> None:
    other = replace(JOB, id="other", name="Second", status=JobStatus.FINISHED)
    root = parse(training_views.history([other, JOB], shown=JOB.id))
    buttons = list(root.iter("button"))
    assert [button.get("data-id") for button in buttons] == ["other", JOB.id]
    assert [button.get("aria-pressed") for button in buttons] == [None, "true"]
    assert [button.get("aria-label") for button in buttons] == [
        "Show the training Second",
        "Show the training Ink drawings",
    ]
