"""What sd-scripts prints, and what it comes to here."""

from __future__ import annotations

import os
from typing import Any

import pytest

from lora_studio.errors import DatasetError, OutOfMemory, StudioError
from lora_studio.jobs.sd_scripts.child_process import Splitter
from lora_studio.jobs.sd_scripts.console_output import Bar, Epoch, Saving, explain, read_line
from lora_studio.jobs.sd_scripts.sd_scripts_worker import environment

TRACEBACK = [
    "steps:  12%|█▎        | 1/8 [00:08<01:01,  8.81s/it, avr_loss=1.13]Traceback (most recent call last):",
    "Traceback (most recent call last):",
    '  File "train_network.py", line 1300, in <module>',
    "    trainer.train(args)",
    "  ValueError: not this one, it is indented",
    "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (
            "steps:  12%|█▎        | 1/8 [00:08<01:01,  8.81s/it, avr_loss=1.13]",
            Bar(name="steps", done=1, total=8, loss=1.13, seconds=8.81),
        ),
        (
            "steps: 100%|██████████| 8/8 [01:05<00:00,  8.24s/it, avr_loss=1.11]",
            Bar(name="steps", done=8, total=8, loss=1.11, seconds=8.24),
        ),
        (
            "steps:   1%|          | 3/400 [00:01<03:20,  2.00it/s, Keys Scaled=0, avr_loss=0.0913]",
            Bar(name="steps", done=3, total=400, loss=0.0913, seconds=0.5),
        ),
        ("steps:   0%|          | 0/8 [00:00<?, ?it/s]", Bar(name="steps", done=0, total=8)),
        ("100%|██████████| 6/6 [00:03<00:00,  1.60it/s]", Bar(name="", done=6, total=6, seconds=1 / 1.6)),
        (
            "epoch validation steps:  50%|█████     | 2/4 [00:01<00:01,  1.00s/it]",
            Bar(name="epoch validation steps", done=2, total=4, seconds=1.0),
        ),
        ("epoch 1/4", Epoch(number=1, total=4)),
        (
            "saving checkpoint: /a b/cat-step00000500.safetensors",
            Saving(path="/a b/cat-step00000500.safetensors"),
        ),
        ("removing old checkpoint: x.safetensors", Saving(path="x.safetensors", removed=True)),
        ("INFO     epoch is incremented. current_epoch: 0, epoch: 1", None),
        ("  num epochs / epoch数: 4", None),
        ("", None),
        ("%|| / [", None),
        ("\ufffd\ufffd steps 12%", None),
    ],
)
def test_lines_are_understood(line: str, wanted: Any) -> None:
    assert read_line(line) == wanted


@pytest.mark.parametrize(
    ("lines", "code", "kind", "said"),
    [
        (TRACEBACK, 1, StudioError, "SafetensorError: Error while deserializing header: HeaderTooLarge."),
        (
            [
                *TRACEBACK,
                "Traceback (most recent call last):",
                "subprocess.CalledProcessError: Command failed",
            ],
            1,
            StudioError,
            "SafetensorError",
        ),
        (
            ["Traceback (most recent call last):", "torch.OutOfMemoryError: CUDA out of memory."],
            1,
            OutOfMemory,
            "memory",
        ),
        (
            ["Traceback (most recent call last):", "ModuleNotFoundError: No module named 'torch'"],
            1,
            StudioError,
            "torch",
        ),
        (
            ["train_network.py: error: unrecognized arguments: --x"],
            2,
            StudioError,
            "unrecognized arguments: --x.",
        ),
        (["No data found. Please verify arguments", "bye"], 0, DatasetError, "no pictures"),
        ([], -9, StudioError, "SIGKILL" if os.name != "nt" else "signal 9"),
        (["half a word"], 3, StudioError, "code 3 and said last: half a word."),
        ([], 0, StudioError, "without a LoRA"),
        (["Traceback (most recent call last):", "KeyboardInterrupt"], 1, StudioError, "KeyboardInterrupt."),
    ],
)
def test_the_end_is_explained_in_a_sentence(
    lines: list[str], code: int, kind: type[StudioError], said: str
) -> None:
    error = explain(lines, code)
    assert type(error) is kind
    assert said in error.message
    assert error.message.endswith(".")
    assert "\n" not in str(error)


def test_lines_end_where_they_are_redrawn() -> None:
    splitter = Splitter()
    assert splitter.feed(b"\rsteps: 1") == []
    assert splitter.feed("█]\rä".encode()[:-1]) == ["steps: 1█]"]
    assert splitter.feed("ä".encode()[-1:] + b"\r\n\r\nb") == ["ä"]
    assert splitter.drawn() == []
    assert splitter.finish() == ["b"]
    assert splitter.feed(b"\xff\xfe\n") == ["\ufffd\ufffd"]
    assert len(splitter.feed(b"x" * 70_000)) == 1
    splitter.feed(b"\rsteps:  12%|x| 1/8 [00:08]")
    assert splitter.drawn() == ["steps:  12%|x| 1/8 [00:08]"]
    assert splitter.finish() == []


def test_the_child_inherits_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDIO_PASSWORD", "secret")
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("HF_HOME", "/theirs")
    given = environment()
    assert not {"LORA_STUDIO_PASSWORD", "PYTHONPATH"} & set(given)
    assert (given["HF_HOME"], given["PYTHONUNBUFFERED"]) == ("/theirs", "1")
