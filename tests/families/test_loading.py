from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lora_studio.families.weights.loading import WithoutInitialNumbers


class Operations(TorchDispatchMode):
    """Names of all that torch computes inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def made(device: str) -> list[str]:
    with Operations() as operations, WithoutInitialNumbers(), torch.device(device):
        torch.nn.Conv2d(2, 2, 3), torch.nn.Embedding(4, 2)
    return [name for name in operations.names if "uniform" in name or "normal" in name]


def test_only_weights_with_memory_are_given_random_numbers() -> None:
    assert made("meta") == []
    assert len(made("cpu")) == 3


def test_they_are_the_same_numbers_as_ever() -> None:
    torch.manual_seed(0)
    wanted = torch.nn.Linear(2, 3).weight
    torch.manual_seed(0)
    with WithoutInitialNumbers():
        with torch.device("meta"):
            torch.nn.Linear(2, 3)
        assert torch.equal(torch.nn.Linear(2, 3).weight, wanted)
