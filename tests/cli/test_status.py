"""`lora-studio status` and `list`: what the store knows, as tables and as JSON."""

from __future__ import annotations

import pytest

from lora_studio.cli.console.text_table import draw_table
from tests.support.command import Command, stored_job


def test_nothing_yet(command: Command) -> None:
    assert command("status").out == "No training yet. Start with: lora-studio tour\n"
    assert command("list").out == "The library is empty. Start with: lora-studio tour\n"
    assert command("list", "--search", "cat").out == "No LoRA found.\n"


def test_a_running_job_in_the_table(command: Command) -> None:
    _, job = stored_job()
    head, row = command("status").out.splitlines()
    columns = ["JOB", "NAME", "STATUS", "PROGRESS", "STEP", "LOSS", "LEFT", "STARTED", "BEAT"]
    assert head.split() == columns
    assert row.startswith(job.id)
    for part in ("My disc", "running: train", f"{job.progress:.0f}%", "20/40", "0.2500", "20 s"):
        assert part in row


@pytest.mark.parametrize("by", ["id", "start", "name", "slug"])
def test_one_job_by_any_of_its_names(command: Command, by: str) -> None:
    _, job = stored_job()
    name = {"id": job.id, "start": job.id[:6], "name": "My disc", "slug": "my-disc"}[by]
    outcome = command("status", name, "--json")
    assert outcome.json["id"] == job.id
    assert (outcome.json["step"], outcome.json["status"]) == (20, "running")
    assert "4 pictures, 40 steps" in command("status", name).out


def test_an_unknown_job_is_a_users_error(command: Command) -> None:
    stored_job()
    outcome = command("status", "other")
    assert outcome.code == 2
    assert outcome.err == "error: There is no job called 'other'. lora-studio status lists them.\n"


def test_watch_ends_with_the_last_running_job(command: Command, train_quickly: Command) -> None:
    train_quickly("--set", "sample_every_n_steps=0", steps=1)
    lines = command("status", "--watch").out.splitlines()
    assert "finished" in lines[-1]
    assert "100%" in lines[-1]


def test_list_shows_what_the_files_say(command: Command, train_quickly: Command) -> None:
    train_quickly("--trigger", "dsc", "--set", "sample_every_n_steps=0", steps=1)
    head, row = command("list").out.splitlines()
    assert head.split()[0] == "NAME"
    assert row.split()[0] == "my-disc"
    assert "My disc" in row
    assert "dsc" in row
    assert command("list", "--search", "nothing-such", "--json").json == {"loras": []}


def test_tables_line_up_and_cut_long_cells() -> None:
    lines = draw_table(("A", "B"), [("x" * 50, "1"), ("y", "2")]).splitlines()
    assert lines == ["A" + " " * 33 + "B", "x" * 31 + "…  1", "y" + " " * 33 + "2"]
