"""Two trainings side by side: what differs, and what each has shown."""

from __future__ import annotations

import pytest

from lora_studio.errors import StoreError
from lora_studio.events import PreviewSaved, Started, StepDone, Validated
from lora_studio.jobs.comparison.run_comparison import compare_runs
from lora_studio.records import JobRecord
from lora_studio.store.job_store import JobStore
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.upload.example_pictures import example_files


def trained(studio: Studio, name: str, steps: int, **overrides: str) -> JobRecord:
    """A training that has reached a step."""
    found = [record for record in studio.datasets.datasets() if record.name == "Ink"]
    dataset = found[0] if found else studio.datasets.create("Ink", example_files("ink"))
    request = StartTraining(dataset_id=dataset.id, name=name, kind="style", overrides=overrides)
    job = studio.trainings.start(request)
    store = JobStore(studio.database)
    store.append(job.id, Started(total_steps=200, phases=("train",), device="CPU", dtype="float32"))
    for step in range(1, steps + 1):
        done = StepDone(
            step=step,
            total_steps=200,
            loss=1 / step,
            average_loss=1 / step,
            learning_rate=0.001 / step,
            seconds=2.0,
            memory_bytes=1000 * step,
        )
        store.append(job.id, done)
    for step, loss in ((2, 0.5), (1, 0.3), (2, 0.4)):
        store.append(job.id, Validated(step=step, loss=loss))
    store.append(
        job.id, PreviewSaved(step=2, path="/x/step.png", base_path="/x/base.png", prompt="a", seed=1)
    )
    return studio.jobs.get(job.id)


def test_only_what_was_set_otherwise_differs(studio: Studio) -> None:
    jobs = (trained(studio, "One", 4), trained(studio, "Two", 2, learning_rate="0.004", network_dim="4"))
    comparison = compare_runs(studio.jobs, studio.database, jobs[0].id, jobs[1].id)
    differences = {pair.name: pair.values for pair in comparison.differences}
    assert differences["learning_rate"] == (jobs[0].config["optimizer"]["learning_rate"], 0.004)
    assert differences["network_dim"][1] == 4
    assert not differences.keys() & {"output_name", "output_dir", "train_data_dir", "title"}
    assert comparison.same > 100
    own = compare_runs(studio.jobs, studio.database, jobs[0].id, jobs[0].id)
    assert own.differences == ()


def test_the_figures_are_those_of_each(studio: Studio) -> None:
    jobs = (trained(studio, "One", 4), trained(studio, "Two", 2))
    first, second = compare_runs(studio.jobs, studio.database, jobs[0].id, jobs[1].id).runs
    assert (first.job.id, second.job.id) == (jobs[0].id, jobs[1].id)
    assert [step for step, _ in first.losses] == [1, 2, 3, 4]
    assert first.learning_rates[-1] == (4, pytest.approx(0.00025))
    assert first.memory_bytes == 4000
    assert second.losses == ((1, 1.0), (2, 0.5))
    assert first.validation == ((1, 0.3), (2, 0.4))  # measured again: the last one counts
    assert first.best_validation == (1, 0.3)
    assert [event.step for event in first.previews] == [2]


def test_paths_of_this_machine_are_names_only(studio: Studio) -> None:
    one, two = (
        trained(studio, "One", 1),
        trained(studio, "Two", 1, network_weights="/secret/place/old.safetensors"),
    )
    comparison = compare_runs(studio.jobs, studio.database, one.id, two.id)
    assert ("network_weights", ("", "old.safetensors")) in [
        (p.name, p.values) for p in comparison.differences
    ]
    assert "/secret" not in str(comparison.differences)


def test_one_that_is_not_there_is_refused(studio: Studio) -> None:
    with pytest.raises(StoreError):
        compare_runs(studio.jobs, studio.database, trained(studio, "One", 1).id, "none")
