"""A run with a break in it equals the one without, whatever is trained, with whatever, on whatever."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.config_groups import KNOWN_OPTIMIZERS
from lora_studio.events import Event, StepDone
from lora_studio.trainer import TrainResult, train
from tests.support.configs import ConfigMaker
from tests.support.runs import of, state_folder_of, tensor_hash
from tests.support.tiny import make_tiny

HERE = tuple(name for name in KNOWN_OPTIMIZERS if "8bit" not in name and not name.startswith("Paged"))

pytestmark = pytest.mark.slow

NETWORKS = (
    {"conv_dim": 2, "conv_alpha": 1},
    {"dora_wd": True},
    {"algo": "loha"},
    {"algo": "lokr"},
    {"algo": "diag-oft", "dora_wd": False},
)


def in_two_parts(config: TrainConfig) -> TrainResult:
    """Stopped after its second step, then resumed."""
    events: list[Event] = []
    train(config, events.append, lambda: len(of(StepDone, events)) == 2)
    result = train(config, events.append, resume_from=state_folder_of(config))
    assert [event.step for event in of(StepDone, events)] == list(range(1, result.steps + 1))
    return result


def assert_no_trace(make_config: ConfigMaker, **changes: object) -> None:
    whole = train(make_config("whole", **changes))
    assert tensor_hash(in_two_parts(make_config("parts", **changes))) == tensor_hash(whole)


@pytest.mark.parametrize("name", HERE)
def test_with_every_optimizer(make_config: ConfigMaker, name: str) -> None:
    slow_to_begin = name == "RAdamScheduleFree"  # its first five steps change nothing
    assert_no_trace(make_config, optimizer_type=name, max_train_steps=8 if slow_to_begin else 4)


@pytest.mark.parametrize("changes", NETWORKS, ids=lambda changes: " ".join(map(str, changes)))
def test_with_every_network(make_config: ConfigMaker, changes: dict[str, object]) -> None:
    assert_no_trace(make_config, **changes)


@pytest.mark.parametrize("precision", ["bf16", "no"])
@pytest.mark.parametrize("shape", ["sd2_v", "sdxl"])
def test_on_other_families(
    make_config: ConfigMaker, tmp_path_factory: pytest.TempPathFactory, shape: str, precision: str
) -> None:
    base = make_tiny(shape, Path(tmp_path_factory.mktemp(shape)))
    assert_no_trace(
        make_config, base=base, mixed_precision=precision, network_train_unet_only=shape == "sdxl"
    )


def test_in_half_precision(make_config: ConfigMaker) -> None:
    assert_no_trace(make_config, mixed_precision="bf16", network_dropout=0.2)
