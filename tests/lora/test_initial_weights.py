from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lora_studio.errors import ConfigError, FamilyMismatch, UnknownFormat
from lora_studio.families.base import Target
from lora_studio.lora.network.attach import PLAIN, AttachedLora, attach
from lora_studio.lora.network.initial_weights import continue_from, merge_into_base, sizes_from
from lora_studio.lora.network.layers import Shape
from lora_studio.lora.network.ranks import Size
from lora_studio.lora.network.weight_norms import limit_norms
from lora_studio.lora.network.weights import read_weights
from tests.support.lora_kinds import KINDS, inputs, stirred

PATH = "down_blocks.1.attentions.0.proj"
NAME = "lora_unet_down_blocks_1_attentions_0_proj"
TARGETS = [
    Target(part="unet", module=f"{PATH}_in", name=f"{NAME}_in"),
    Target(part="unet", module=f"{PATH}_out", name=f"{NAME}_out"),
]


def model() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        block = torch.nn.Module()
        block.proj_in, block.proj_out = torch.nn.Linear(40, 24), torch.nn.Conv2d(12, 16, 1)
        unet = torch.nn.Module()
        empty = torch.nn.Module()
        level = torch.nn.Module()
        level.attentions = torch.nn.ModuleList([block])
        unet.down_blocks = torch.nn.ModuleList([empty, level])
        return unet.requires_grad_(False)


def network(unet: torch.nn.Module, shape: Shape = PLAIN, dim: int = 2, alpha: float = 2.0) -> AttachedLora:
    return attach({"unet": unet}, TARGETS, dim=dim, alpha=alpha, shape=shape, seed=1)


def answers(unet: torch.nn.Module) -> torch.Tensor:
    block = unet.down_blocks[1].attentions[0]
    return torch.cat([block.proj_in(inputs("linear")).flatten(), block.proj_out(inputs("conv")).flatten()])


def one_layer(name: str) -> dict[str, torch.Tensor]:
    return {f"{name}.lora_down.weight": torch.ones(2, 4), f"{name}.lora_up.weight": torch.ones(4, 2)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "start.safetensors"


@pytest.mark.parametrize("shape", [Shape(), *KINDS.values()], ids=["lora", *KINDS])
def test_a_run_goes_on_from_a_file_with_the_same_output(shape: Shape, file: Path) -> None:
    first = model()
    save_file(stirred(network(first, shape)).tensors(), file)
    second = model()
    lora = network(second, shape)
    assert continue_from(str(file), lora) == []
    assert torch.equal(answers(second), answers(first))


@pytest.mark.parametrize("shape", [Shape(), Shape(kind="loha"), Shape(dora_wd=True)], ids=str)
def test_another_alpha_in_the_file_makes_no_difference_to_what_it_does(shape: Shape, file: Path) -> None:
    first = model()
    save_file(stirred(network(first, shape, alpha=1.0)).tensors(), file)
    second = model()
    continue_from(str(file), network(second, shape, alpha=4.0))
    torch.testing.assert_close(answers(second), answers(first), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "down", "up"),
    [
        (f"base_model.model.unet.{PATH}", "lora_A.weight", "lora_B.weight"),
        (f"unet.{PATH}", "lora.down.weight", "lora.up.weight"),
        ("lora_unet_input_blocks_4_1_proj", "lora_down.weight", "lora_up.weight"),
    ],
    ids=["peft", "diffusers", "stability"],
)
def test_every_spelling_is_read(layer: str, down: str, up: str, file: Path) -> None:
    first = model()
    tensors = stirred(network(first)).tensors()
    spelled = {
        f"{layer}{end}.{new}": tensors[f"{NAME}{end}.{old}"]
        for end in ("_in", "_out")
        for old, new in (("lora_down.weight", down), ("lora_up.weight", up))
    }
    save_file(spelled, file)
    second = model()
    assert continue_from(str(file), network(second)) == []
    assert torch.equal(answers(second), answers(first))


def test_layers_that_only_the_file_has_are_named(file: Path) -> None:
    save_file({**network(model()).tensors(), **one_layer("lora_te_x")}, file)
    assert continue_from(str(file), network(model())) == ["lora_te_x"]


@pytest.mark.parametrize(
    ("shape", "dim", "match"),
    [
        (Shape(kind="loha"), 2, r"start\.safetensors is of another kind \(lora\)"),
        (Shape(dora_wd=True), 2, r"another kind"),
        (Shape(), 3, r"has another rank than this training \(in .*: 2\)"),
    ],
)
def test_a_file_that_does_not_fit_the_settings_is_refused(
    shape: Shape, dim: int, match: str, file: Path
) -> None:
    save_file(network(model()).tensors(), file)
    with pytest.raises(ConfigError, match=match) as caught:
        continue_from(str(file), network(model(), shape, dim))
    assert caught.value.field == "network_weights"


def test_a_file_for_another_model_is_refused(file: Path) -> None:
    save_file(one_layer("lora_unet_x"), file)
    for act in (
        lambda: continue_from(str(file), network(model())),
        lambda: sizes_from(str(file), TARGETS, {"unet": model()}),
        lambda: merge_into_base({"unet": model()}, TARGETS, str(file), 1.0),
    ):
        with pytest.raises(FamilyMismatch, match="doesn't fit this base model"):
            act()


def test_ranks_come_from_the_file(file: Path) -> None:
    tensors = attach(
        {"unet": model()}, TARGETS[:1], dim=7, alpha=3.5, sizes={f"{NAME}_in": Size(dim=5, alpha=2.5)}
    ).tensors()
    save_file(tensors, file)
    assert sizes_from(str(file), TARGETS, {"unet": model()}) == {f"{NAME}_in": Size(dim=5, alpha=2.5)}


@pytest.mark.parametrize("shape", KINDS.values(), ids=KINDS)
def test_a_network_made_with_the_files_ranks_takes_the_file(shape: Shape, file: Path) -> None:
    first = model()
    save_file(stirred(network(first, shape)).tensors(), file)
    second = model()
    sizes = sizes_from(str(file), TARGETS, {"unet": second})
    lora = attach({"unet": second}, TARGETS, dim=9, alpha=1.0, sizes=sizes, shape=shape)
    continue_from(str(file), lora)
    torch.testing.assert_close(answers(second), answers(first), rtol=1e-6, atol=1e-6)


def test_a_merged_file_is_in_the_weights_to_the_bit(file: Path) -> None:
    """Kohya's own order of multiplying."""
    tensors = stirred(network(model(), alpha=3.0)).tensors()
    save_file(tensors, file)
    merged, plain = model(), model()
    merge_into_base({"unet": merged}, TARGETS, str(file), 0.7)
    for name in ("proj_in", "proj_out"):
        down, up = (tensors[f"{NAME}_{name[5:]}.lora_{part}.weight"].flatten(1) for part in ("down", "up"))
        before, after = (getattr(unet.down_blocks[1].attentions[0], name).weight for unet in (plain, merged))
        assert torch.equal(after, before + 0.7 * (up @ down).reshape(before.shape) * (3.0 / 2))


@pytest.mark.parametrize("shape", KINDS.values(), ids=KINDS)
def test_merged_is_attached(shape: Shape, file: Path) -> None:
    attached, merged = model(), model()
    save_file(stirred(network(attached, shape)).tensors(), file)
    merge_into_base({"unet": merged}, TARGETS, str(file), 1.0)
    torch.testing.assert_close(answers(merged), answers(attached), rtol=1e-4, atol=1e-5)


def test_merging_keeps_the_bases_number_format(file: Path) -> None:
    save_file(stirred(network(model())).tensors(), file)
    unet = model().to(torch.bfloat16)
    before = unet.down_blocks[1].attentions[0].proj_in.weight
    kept = before.clone()
    merge_into_base({"unet": unet}, TARGETS, str(file), 1.0)
    after = unet.down_blocks[1].attentions[0].proj_in.weight
    assert after.dtype == torch.bfloat16
    assert not torch.equal(after, kept)


def test_incomplete_and_unknown_files_are_refused(file: Path) -> None:
    save_file({"lora_unet_x.lora_down.weight": torch.ones(2, 4)}, file)
    with pytest.raises(UnknownFormat, match=r"start\.safetensors has no layer that can be used"):
        read_weights(file)


def test_a_layer_that_does_not_fit_is_left_out_of_the_merge_and_said(file: Path) -> None:
    whole = stirred(network(model())).tensors()
    odd = {**one_layer("lora_unet_elsewhere"), f"{NAME}_in.vera_lambda_b": torch.ones(3)}
    save_file({**whole, **odd}, file)
    merged, usual = model(), model()
    said = merge_into_base({"unet": merged}, TARGETS, str(file), 1.0)
    assert "2 of its parts are left out" in said
    assert "a VeRA" in said
    save_file(whole, file)
    assert merge_into_base({"unet": usual}, TARGETS, str(file), 1.0) == ""
    assert torch.equal(answers(merged), answers(usual))


def norm_of(plain: torch.nn.Module, name: str, tmp: Path, lora: AttachedLora) -> float:
    save_file(lora.tensors(), tmp)
    merged = model()
    merge_into_base({"unet": merged}, TARGETS, str(tmp), 1.0)
    difference = (
        getattr(merged.down_blocks[1].attentions[0], name).weight
        - getattr(plain.down_blocks[1].attentions[0], name).weight
    )
    return float(difference.norm())


@pytest.mark.parametrize("shape", [Shape(), Shape(kind="loha"), Shape(kind="lokr")], ids=str)
def test_norms_above_the_limit_are_scaled_down_to_it(shape: Shape, file: Path) -> None:
    plain = model()
    lora = stirred(network(model(), shape, alpha=6.0))
    before = [norm_of(plain, name, file, lora) for name in ("proj_in", "proj_out")]
    limit = (before[0] + before[1]) / 2
    facts = limit_norms(lora, limit)
    after = [norm_of(plain, name, file, lora) for name in ("proj_in", "proj_out")]
    assert after == pytest.approx([min(norm, limit) for norm in before], rel=1e-4)
    assert facts.scaled == 1
    assert facts.largest == pytest.approx(limit, rel=1e-4)
    assert facts.mean == pytest.approx(sum(after) / 2, rel=1e-4)


def test_both_factors_of_a_lora_are_scaled_alike() -> None:
    lora = stirred(network(model(), alpha=20.0))
    before = {key: tensor.clone() for key, tensor in lora.state().items()}
    limit_norms(lora, 0.01)
    for name in lora.layers:
        down, up = (
            (lora.weights(name)[part] / before[f"{name}.{part}"]).flatten()
            for part in ("lora_down.weight", "lora_up.weight")
        )
        torch.testing.assert_close(down, down[:1].expand_as(down))
        torch.testing.assert_close(up, down[:1].expand_as(up))
