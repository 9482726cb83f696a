"""Many clients at once: each gets what it asked for; what is gone in between is said in a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_caller import Caller, Refused, write_lora, write_picture
from tests.support.waiting import PATIENCE, until

CLIENTS = 8
FEW_OR_ALL = pytest.mark.parametrize("clients", [2, pytest.param(CLIENTS, marks=pytest.mark.slow)])
STEPS = {"num_inference_steps": 2}
SLOW = {"num_inference_steps": 80}


@pytest.fixture(scope="module")
def dataset(studio: Caller, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [write_picture(folder / f"{colour}.png", colour) for colour in ("red", "green", "blue")]
    return str(studio.run("upload_dataset", studio.upload(*paths), "Colours")["dataset_id"])


def import_layer(studio: Caller, folder: Path, name: str, value: float = 0.05) -> str:
    (made,) = studio.run("import_lora", studio.upload(write_lora(folder / f"{name}.safetensors", value)))
    return str(made["slug"])


def at_once(act: Callable[[int], Any], times: int = CLIENTS) -> list[Any]:
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(act, range(times)))


def draw(studio: Caller, seed: int, loras: Any = (), session: str = "") -> tuple[int, str, str]:
    """One picture's seed, content and infotext."""
    values = ("a dog", list(loras), "starter", "", seed, 1, STEPS)
    (made,) = studio.run("generate_base64", *values, session=session)
    return made["seed"], made["image"], made["infotext"]


def begin(studio: Caller, dataset: str, name: str, steps: int, **options: Any) -> dict[str, Any]:
    quick = {"max_train_steps": steps, "sample_every_n_steps": 0, "train_batch_size": 1, **options}
    return dict(studio.run("start_training", dataset, name, "style", "zwx", "starter", quick))


def wait_for(studio: Caller, job: str, *states: str) -> dict[str, Any]:
    def there() -> Any:
        status = studio.run("training_status", job)
        return status if status["status"] in states else None

    return dict(until(there))


def newest(studio: Caller) -> dict[str, Any]:
    return dict(studio.run("list_generations")[0])


@FEW_OR_ALL
def test_clients_get_their_own_pictures(studio: Caller, tmp_path: Path, clients: int) -> None:
    """Bit-equal to the one that each of them gets alone, with a LoRA for every other."""
    slug = import_layer(studio, tmp_path, f"every-other-{clients}", 0.2 + clients / 1000)

    def ask(number: int) -> tuple[int, str, str]:
        return draw(studio, 100 + number, [{"slug": slug}] * (number % 2), session=f"client{number}")

    together = at_once(ask, clients)
    assert [seed for seed, _, _ in together] == list(range(100, 100 + clients))
    assert len({image for _, image, _ in together}) == clients
    assert [f"<lora:{slug}:1>" in infotext for _, _, infotext in together] == [False, True] * (clients // 2)
    assert [ask(number) for number in range(clients)] == together


@pytest.mark.parametrize("clients", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_trainings_of_one_name_get_folders_of_their_own(studio: Caller, dataset: str, clients: int) -> None:
    name = f"twin{clients}"
    jobs = at_once(lambda _: begin(studio, dataset, name, 2), clients)
    for job in jobs:
        wait_for(studio, job["job_id"], "finished")
    listed = {job["job_id"]: job for job in studio.run("list_trainings", 500)}
    slugs = sorted(listed[job["job_id"]]["lora_slug"] for job in jobs)
    assert slugs == sorted([name, *(f"{name}-{number}" for number in range(2, clients + 1))])
    assert {row["slug"] for row in studio.run("list_loras", name)} == set(slugs)


@pytest.mark.slow
def test_status_is_told_while_pictures_are_drawn(studio: Caller, dataset: str) -> None:
    """Progress never goes back, pictures are drawn between steps, and the training ends whole."""
    alone = draw(studio, 5)
    job = begin(studio, dataset, "Polled", 60)["job_id"]

    def draw_meanwhile() -> tuple[Any, str]:
        return draw(studio, 5), studio.run("training_status", job)["status"]

    wait_for(studio, job, "running")
    with ThreadPoolExecutor(CLIENTS) as pool:
        drawn = [pool.submit(draw_meanwhile) for _ in range(4)]
        seen = []
        while not seen or seen[-1]["status"] not in {"finished", "failed"}:
            seen.append(studio.run("training_status", job))
            time.sleep(0.05)
        assert [one.result(PATIENCE) for one in drawn] == [(alone, "running")] * 4
    steps = [status["step"] for status in seen]
    assert (seen[-1]["status"], steps[-1], seen[-1]["progress"]) == ("finished", 60, 100.0)
    assert steps == sorted(steps)
    assert len(set(steps)) > 3
    assert all(0 <= status["progress"] <= 100 for status in seen)


def test_a_training_is_saved_looked_at_paused_and_resumed(studio: Caller, dataset: str) -> None:
    few = {"sample_steps": 1, "sample_prompts": ["zwx"]}
    job = begin(studio, dataset, "Steered", 100_000, **few)["job_id"]
    until(lambda: studio.run("training_status", job)["step"] >= 2)
    for wish in ("save_now", "preview_now"):
        assert studio.run(wish, job)["job_id"] == job
    folder = studio.app.models / "lora" / "steered"
    until(lambda: list(folder.glob("checkpoints/*.safetensors")) and list(folder.rglob("previews/step-*")))
    at_once(lambda _: studio.run("pause_training", job), 1)
    paused = wait_for(studio, job, "paused")
    assert paused["resume_step"] == paused["step"] >= 2
    again = studio.run("resume_training", job)
    assert (again["job_id"], again["status"]) == (job, "queued") or again["status"] == "running"
    until(lambda: studio.run("training_status", job)["step"] > paused["step"])
    asked = at_once(lambda _: studio.run("stop_training", job))
    assert {status["status"] for status in asked} <= {"stopping", "stopped"}
    wait_for(studio, job, "stopped")
    kept = sorted(int(path.stem.rpartition("step")[2]) for path in folder.glob("checkpoints/*.safetensors"))
    used = studio.run("use_checkpoint", "steered", kept[0])
    assert used["step"] == kept[0]
    assert studio.run("use_checkpoint", "steered", used["before"]) == {
        "step": used["before"],
        "before": kept[0],
    }


@pytest.mark.slow  # test_gate.py has one at each change
def test_a_plan_is_measured(studio: Caller, dataset: str) -> None:
    plan = studio.run("plan_training", dataset, "style", "", "starter", {"max_train_steps": 40})
    assert (plan["steps"], plan["images"]) == (40, 3)
    assert plan["total_seconds"] > 0


@pytest.mark.slow
def test_a_lora_that_is_deleted_in_use(studio: Caller, tmp_path: Path) -> None:
    """The picture at work is drawn to its end; the one that still waits is refused in a sentence."""
    slug = import_layer(studio, tmp_path, "in-use", 0.07)
    loras = [{"slug": slug}]
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(studio.run, "generate", "used", loras, "starter", "", 1, 1, SLOW)
        until(lambda: newest(studio)["prompt"] == "used" and newest(studio)["step"] > 2)
        waits = pool.submit(draw, studio, 9, loras)
        until(lambda: newest(studio)["state"] == "waiting")
        token = studio.run("delete_lora", slug)["undo"]
        assert len(slow.result(PATIENCE)) == 1
        with pytest.raises(Refused, match="no LoRA"):
            waits.result(PATIENCE)
    studio.run("undo_delete", token)
    assert f"<lora:{slug}:1>" in draw(studio, 9, loras)[2]


def test_one_that_waits_is_interrupted_and_the_others_are_not(studio: Caller) -> None:
    values = ("a dog", [], "starter", "", 1, 1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(studio.run, "generate", *values, SLOW, session="first")
        until(lambda: newest(studio)["state"] == "running")
        second = pool.submit(studio.run, "generate", *values, STEPS, session="second")
        waiting = until(lambda: newest(studio)["state"] == "waiting" and newest(studio))
        assert waiting["ahead"] == 1
        assert studio.run("interrupt", "", session="somebody") == []
        (stopped,) = studio.run("interrupt", "", session="second")
        assert (stopped["ticket"], stopped["state"]) == (waiting["ticket"], "stopped")
        assert second.result(PATIENCE) == []
        assert studio.run("list_generations")[1]["state"] == "running"
        assert len(studio.run("interrupt", "", session="first")) == 1
        assert first.result(PATIENCE) == []
    assert studio.run("interrupt", waiting["ticket"])[0]["state"] == "stopped"


def test_one_thing_is_deleted_and_brought_back_once(studio: Caller, tmp_path: Path) -> None:
    """Of eight clients at the same button, one is told that it did it."""
    slug = import_layer(studio, tmp_path, "wanted", 0.09)

    def attempt(endpoint: str, given: str) -> list[Any]:
        def once(_: int) -> Any:
            try:
                return studio.run(endpoint, given)
            except Refused as refusal:
                return refusal

        return [one for one in at_once(once) if not isinstance(one, Refused)]

    (deleted,) = attempt("delete_lora", slug)
    assert attempt("undo_delete", deleted["undo"]) == [True]
    assert [row["slug"] for row in studio.run("list_loras", "wanted")] == [slug]
    at_once(lambda number: studio.run("rename_lora", slug, f"Wanted {number}"))
    (row,) = studio.run("list_loras", "wanted")
    assert row["title"] in {f"Wanted {number}" for number in range(CLIENTS)}


def test_nothing_of_it_was_a_bug(studio: Caller) -> None:
    assert studio.bugs() == []
