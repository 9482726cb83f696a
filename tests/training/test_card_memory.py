"""The memory of a graphics card, counted without one, and what a plan says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from lora_studio.families.weights.block_swap import saved_bytes
from lora_studio.formatting import size
from lora_studio.training.evaluation.card_memory import CONTEXT, TensorPeak, card_bytes, resident_bytes
from lora_studio.training.measure import measure
from tests.support.configs import ESTIMATE, ConfigMaker
from tests.support.runs import engine_for

KB = 1000


def test_tensors_count_while_they_are_there() -> None:
    given = torch.zeros(500 * KB)
    with TensorPeak() as tensors:
        first = torch.ones(KB)
        second = first + 1
        view = second[10:].view(-1, 10)
        del first
        third = view * 2
        given.add_(1)
        given.mul_(2).narrow(0, 0, 5)
        del second
        assert tensors.peak == 4 * 2 * KB, "a view is no memory of its own, and what was there isn't counted"
        fourth = third + 1
    assert tensors.peak == 4 * (KB + (KB - 10) * 2), "the view holds all of what it is of"
    assert fourth.shape == view.shape
    after = tensors.peak
    torch.zeros(500 * KB)
    assert tensors.peak == after, "only inside"


@pytest.mark.parametrize(("checkpoints", "copies"), [(False, 6), (True, 4)])
def test_what_autograd_keeps_counts_until_the_way_back(checkpoints: bool, copies: int) -> None:
    """Three pairs of layers: each keeps its two outputs, with checkpointing its last one; what is between
    is there while the pair computes."""
    inputs = torch.ones(100 * KB, requires_grad=True)

    def pair(values: torch.Tensor) -> torch.Tensor:
        return values.sin().sin()

    with TensorPeak() as tensors:
        output = inputs
        for _ in range(3):
            output = checkpoint(pair, output, use_reentrant=False) if checkpoints else pair(output)
        forward = tensors.peak
        output.sum().backward()
    nbytes = 4 * 100 * KB
    assert forward == pytest.approx((6 if not checkpoints else 4) * nbytes, rel=0.01)
    assert copies * nbytes < tensors.peak < (copies + 4) * nbytes


def test_swapped_blocks_and_few_bits_are_less_on_the_card(make_config: ConfigMaker) -> None:
    plain = engine_for(make_config("plain"))
    whole = resident_bytes(plain)
    modules = (plain.base.unet, plain.base.text_encoder, plain.base.vae)
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    assert whole == sum(tensor.nbytes for tensor in tensors)
    swapped = engine_for(make_config("swapped", blocks_to_swap=100))
    assert whole - resident_bytes(swapped) == saved_bytes(plain.base.blocks) > 0
    few, eight = engine_for(make_config("few", qtype="nf4")), engine_for(make_config("eight", qtype="qint8"))
    assert resident_bytes(few) == whole - few.saved_bytes < resident_bytes(eight) < whole
    assert few.memory_notes == (f"The base's denoiser is held as nf4: {size(few.saved_bytes)} less.",)
    assert plain.memory_notes == ()
    small, large = (card_bytes(plain, 10**6, ((64, 64), side)) for side in ((64, 64), (512, 512)))
    assert whole + 10**6 + CONTEXT == small < large
    assert card_bytes(plain, 10**10, ((512, 512),)) == whole + 10**10 + CONTEXT


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        (
            {"card_bytes": 6_900_000_000},
            "A graphics card of 8 GB would be enough at 64 px (6.9 GB, counted, not measured).",
        ),
        (
            {"card_bytes": 7_300_000_000, "device_bytes": 6_800_000_000, "bucket": (512, 768)},
            "A graphics card of 10 GB is enough at 512 x 768 px (7.3 GB, measured).",
        ),
        (
            {"card_bytes": 90_000_000_000},
            "A graphics card of 80 GB would not be enough at 64 px (90 GB, counted, not measured).",
        ),
    ],
)
def test_the_plan_says_which_card_is_enough(changes: dict, words: str) -> None:
    plan = replace(ESTIMATE, **changes)
    assert plan.fit == words
    assert words in plan.sentence


def test_a_plan_counts_where_it_can_not_measure(make_config: ConfigMaker) -> None:
    config = make_config(sample_every_n_steps=0)
    plan, large = measure(config), measure(make_config("large", sample_every_n_steps=0, train_batch_size=4))
    assert plan is not None
    assert large is not None
    assert plan.card_bytes > resident_bytes(engine_for(config)) + CONTEXT
    assert large.card_bytes > plan.card_bytes, "a larger batch takes more"
    assert ("counted, not measured" in plan.sentence) == (plan.device_bytes == 0)
