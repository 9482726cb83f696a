"""Three whole trainings, as they went when they were recorded, with what they were recorded on.

`python -m tests.invariant.trajectories` records them anew; what moved them belongs in the commit's message.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from lora_studio.config import TrainConfig
from lora_studio.events import Event, StepDone
from lora_studio.settings import Settings
from lora_studio.trainer import train
from tests.support.tiny import make_pictures, make_tiny, tiny_values

RECORD = Path(__file__).with_name("trajectories.json")
LIBRARIES = ("torch", "diffusers", "transformers", "peft", "numpy", "pillow")
SIZES = ((64, 64), (96, 64), (64, 64), (64, 96))
LONG = ", ".join(f"a (disc:1.{number}) and [ground {number}]" for number in range(9))
"""Beyond 75 tokens of a vocabulary without merges, with weights."""
RUNS: Mapping[str, Mapping[str, object]] = {
    "starter": {
        "network_dim": 2,
        "network_alpha": 1,
        "learning_rate": 1e-3,
        "noise_offset": 0.05,
        "max_token_length": 150,
        "weighted_captions": True,
    },
    "sd2_v": {
        "train_batch_size": 2,
        "min_snr_gamma": 5,
        "zero_terminal_snr": True,
        "loss_type": "huber",
        "clip_skip": 2,
    },
    "sdxl": {
        "train_batch_size": 2,
        "flip_aug": True,
        "network_dropout": 0.1,
        "max_token_length": 225,
        "weighted_captions": True,
    },
}


def environment() -> dict[str, str]:
    """All that the last bits of a run depend on beside the program."""
    return {
        **{name: version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "cpu": f"{_cpu_name()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
    }


def run(name: str, folder: Path) -> dict[str, Any]:
    """Train as RUNS says: the loss of each step, a hash of the final tensors, and the norm of each."""
    base = Settings.from_environment().starter if name == "starter" else make_tiny(name, folder / "base")
    pictures = make_pictures(folder / "pictures", SIZES)
    (pictures / "picture-01.txt").write_text(LONG, encoding="utf-8")
    config = TrainConfig.from_values(tiny_values(base, pictures, folder / "lora", **RUNS[name]))
    losses: list[float] = []

    def emit(event: Event) -> None:
        if isinstance(event, StepDone):
            losses.append(event.loss)

    with one_thread():
        tensors = load_file(train(config, emit).file)
    return {
        "losses": losses,
        "hash": hash_of(tensors),
        "norms": {key: float(tensor.double().norm()) for key, tensor in sorted(tensors.items())},
    }


def hash_of(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors.items()):
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums are split among threads, so their number decides over the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def record() -> None:
    """Write RECORD."""
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        found = {name: run(name, Path(folder) / name) for name in RUNS}
        told = {"environment": environment(), "runs": found}
    RECORD.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.cuda.is_available = lambda: False
    torch.backends.mps.is_available = lambda: False
    record()
