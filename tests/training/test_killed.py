"""The worst end of a run: SIGKILL in the middle of a step, again and again."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from lora_studio.catalog import STARTER, plan
from lora_studio.config import TrainConfig
from lora_studio.lora.file.lora_files import find_file, read_header
from lora_studio.lora.run_states import state_files, state_folder
from lora_studio.trainer import train
from tests.support import killed
from tests.support.forks import PROCESSES
from tests.support.runs import ALL_ON
from tests.support.waiting import PATIENCE

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def starter_values(folder: Path, steps: int, **changes: Any) -> dict[str, Any]:
    return {
        **plan("style", STARTER, 10).values,
        "pretrained_model_name_or_path": "starter",
        "train_data_dir": str(EXAMPLES / "ink"),
        "trigger_word": "zwx",
        "output_name": folder.name,
        "output_dir": str(folder),
        "max_train_steps": steps,
        "sample_every_n_steps": 0,
        "train_batch_size": 2,
        "save_state_every_n_steps": 2,
        **changes,
    }


def train_until(values: dict[str, Any], step: int | None) -> int:
    """In a child, killed when it says that the step is done, or left to end. Returns the first it did."""
    receiver, sender = PROCESSES.Pipe(duplex=False)
    child = PROCESSES.Process(target=killed.run, args=(values, sender))
    child.start()
    sender.close()
    first = 0
    try:
        while receiver.poll(PATIENCE):
            done = receiver.recv()
            first = first or done
            if done == step:
                break
    except EOFError:
        assert step is None, "it ended by itself"
    if step is not None:
        child.kill()
    child.join(PATIENCE)
    assert child.exitcode == (0 if step is None else -9)
    return first


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "length"), [(1, 6), (3, 10)])
def test_kills_leave_no_trace_in_the_result(tmp_path: Path, kills: int, length: int) -> None:
    changes = {**ALL_ON, "network_train_unet_only": False}
    whole = train(TrainConfig.from_values(starter_values(tmp_path / "whole", length, **changes)))
    values = starter_values(tmp_path / "killed", length, **changes)
    seed = 4
    steps = sorted(random.Random(seed).sample(range(2, length), kills))
    print(f"seed {seed}: killed when steps {steps} are done")
    begun = [train_until(values, step) for step in [*steps, None]]
    print(f"begun at steps {begun}")
    assert begun[0] == 1
    assert all(step <= last + 1 for step, last in zip(begun[1:], steps, strict=True))
    assert begun[-1] > 1, "it was resumed"
    assert read_header(find_file(tmp_path / "killed")).tensor_hash == read_header(whole.file).tensor_hash
    assert not state_files(state_folder(tmp_path / "killed"))
