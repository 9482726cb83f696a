"""A batch shared among threads: the same step up to rounding, the same bits each time."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
import torch

from lora_studio.families.base_files.locate import find_base
from lora_studio.runtime import Device
from lora_studio.training.ignored_settings import ignored_settings
from lora_studio.training.model import load_engine
from lora_studio.training.optimization.batch_threads import BatchThreads, add_gradients
from tests.support.configs import ConfigMaker, config
from tests.support.runs import run, tensor_hash

CPU = Device(kind="cpu", title="CPU", memory_bytes=0, native_bf16=False)
CARD = Device(kind="cuda", title="a card", memory_bytes=1, native_bf16=True)


def test_there_are_no_more_threads_than_pictures_and_they_share_all_cores(
    make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = make_config(cpu_data_parallel=True)
    engine = load_engine(chosen, find_base(chosen.model.pretrained_model_name_or_path), CPU, torch.float32)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 9)
    for batch, threads in ((1, 1), (4, 4), (16, 9)):
        config = make_config(train_batch_size=batch, cpu_data_parallel=True)
        assert replace(engine, config=config).batch_threads == threads


@pytest.fixture
def two_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("count", "batch", "sizes"), [(2, 4, [2, 2]), (2, 5, [2, 3]), (4, 3, [1, 1, 1]), (2, 1, [1])]
)
def test_parts_are_as_even_as_can_be(count: int, batch: int, sizes: list[int]) -> None:
    parts = BatchThreads(count).parts(range(batch))
    assert [len(part) for part in parts] == sizes
    assert [number for part in parts for number in part] == list(range(batch))


@pytest.mark.parametrize("cores", [1, 3])
def test_each_thread_computes_with_its_cores_and_the_others_keep_theirs(
    two_threads: None, cores: int
) -> None:
    together = threading.Barrier(2)

    def work(part: int) -> tuple[int, str]:
        together.wait(timeout=60)  # neither may do both
        return torch.get_num_threads(), threading.current_thread().name

    found = BatchThreads(2, cores).each(work, [1, 2])
    assert [threads for threads, _ in found] == [cores, cores]
    assert len({name for _, name in found}) == 2
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert [torch.get_num_threads(), *later] == [2, 2]


def test_a_failure_is_raised_when_all_have_ended() -> None:
    ended = threading.Event()

    def work(part: str) -> None:
        if part == "bad":
            raise ValueError("no")
        ended.wait(timeout=0.2)
        ended.set()

    with pytest.raises(ValueError, match="no"):
        BatchThreads(2).each(work, ["bad", "slow"])
    assert ended.is_set()


def test_gradients_are_added_in_order_and_none_stays_none() -> None:
    weights = [torch.zeros(2), torch.zeros(1), torch.zeros(1)]
    weights[0].grad = torch.tensor([1.0, 1.0])
    add_gradients(
        weights,
        [
            (torch.tensor([1.0, 2.0]), None, None),
            (torch.tensor([10.0, 20.0]), torch.tensor([3.0]), None),
        ],
    )
    assert [None if one.grad is None else one.grad.tolist() for one in weights] == [[12.0, 23.0], [3.0], None]


def test_a_gradient_in_another_layout_moves_its_own_weights() -> None:
    """As einsum gives it to the core of a LoHa. Adam's first step is the rate, against the sign."""
    weight, gradient = torch.nn.Parameter(torch.zeros(2, 3)), torch.tensor([[1.0, 1, 1], [-1, -1, -1]])
    add_gradients([weight], [[gradient.t().contiguous().t()]])
    torch.optim.AdamW([weight], lr=0.5, fused=True).step()
    torch.testing.assert_close(weight.detach(), -0.5 * gradient)


def test_a_training_is_the_same_but_for_rounding_and_the_same_each_time(
    make_config: ConfigMaker, two_threads: None
) -> None:
    shared = {"train_batch_size": 3, "cpu_data_parallel": True, "gradient_accumulation_steps": 2}
    (plain, _), (one, said), (other, _) = (
        run(make_config("plain", train_batch_size=3, gradient_accumulation_steps=2)),
        run(make_config("one", **shared)),
        run(make_config("other", **shared)),
    )
    assert tensor_hash(one) == tensor_hash(other) != tensor_hash(plain)
    assert one.final_loss == pytest.approx(plain.final_loss, rel=1e-4)
    assert not [event for event in said if "cpu_data_parallel" in getattr(event, "message", "")]


@pytest.mark.parametrize(
    ("changes", "device", "reason"),
    [
        ({"train_batch_size": 4, "mixed_precision": "no"}, CPU, ""),
        ({"train_batch_size": 4, "mixed_precision": "bf16"}, CPU, "needs 32 bit"),
        ({"train_batch_size": 4, "mixed_precision": "no", "rank_dropout": 0.1}, CPU, "dropout"),
        ({"train_batch_size": 4, "mixed_precision": "no", "blocks_to_swap": 2}, CPU, "swapped blocks"),
        ({"train_batch_size": 4, "mixed_precision": "bf16"}, CARD, ""),
    ],
)
def test_where_it_does_nothing_a_sentence_says_why(
    changes: dict[str, object], device: Device, reason: str
) -> None:
    said = list(ignored_settings(config(cpu_data_parallel=True, **changes), device))
    found = [sentence for sentence in said if sentence.startswith("cpu_data_parallel is ignored: ")]
    assert bool(found) == bool(reason)
    assert all(reason in sentence for sentence in found)
