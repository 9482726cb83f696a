"""Files in other programs' spellings and shapes, written from known factors and put on a real tiny base: what
each layer adds is what the originating program's formula says."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from lora_studio.lora.file.lora_files import read_header
from lora_studio.lora.network.kinds import fits
from tests.support.layer_formulas import (
    CONV,
    LAYER_NORM,
    LINEAR,
    NORM,
    PROJ,
    UPSAMPLER,
    assert_adds,
    check,
    kohya,
    product,
    put_on,
    shape_of,
    some,
)
from tests.support.tiny import make_tiny_base


@pytest.fixture(scope="module", params=[False, True], ids=["proj is a convolution", "proj is linear"])
def pipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = make_tiny_base(tmp_path_factory.mktemp("base"), use_linear_projection=request.param)
    return StableDiffusionPipeline.from_pretrained(folder)


@pytest.mark.parametrize("module", [LINEAR, PROJ, CONV])
@pytest.mark.parametrize("sides", ["flat", "four"])
def test_factors_of_other_dimensions_mean_the_same_layer(
    pipe: Any, tmp_path: Path, module: str, sides: str
) -> None:
    """sd-scripts writes SD2's proj_in as a convolution, others SD1's as linear; a folder of all-4d files, and
    ComfyUI's trainer, which writes a kernel in one row."""
    outputs, *inner = shape_of(pipe, module)
    up, down = some(outputs, 2), some(2, math.prod(inner), seed=1)
    name = kohya(module)
    if sides == "four":
        inner = inner if len(inner) > 1 else [*inner, 1, 1]
        tensors = {
            f"{name}.lora_up.weight": up[..., None, None],
            f"{name}.lora_down.weight": down.reshape(2, *inner),
        }
    else:
        tensors = {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
    tensors = {key: tensor.contiguous() for key, tensor in tensors.items()}
    check(pipe, tmp_path, module, {**tensors, f"{name}.alpha": torch.tensor(1.0)}, product(up, down, 0.5))


def test_the_loha_of_a_convolution_as_onetrainer_writes_it(pipe: Any, tmp_path: Path) -> None:
    outputs, *inner = shape_of(pipe, CONV)
    tensors = {}
    for number in "12":
        tensors[f"{kohya(CONV)}.hada_w{number}_a"] = some(outputs, 2, 1, 1, seed=int(number))
        tensors[f"{kohya(CONV)}.hada_w{number}_b"] = some(2, *inner, seed=5 + int(number))
    tensors[f"{kohya(CONV)}.alpha"] = torch.tensor(4.0)
    halves = [
        tensors[f"{kohya(CONV)}.hada_w{n}_a"].flatten(1) @ tensors[f"{kohya(CONV)}.hada_w{n}_b"].flatten(1)
        for n in "12"
    ]
    check(pipe, tmp_path, CONV, tensors, lambda _: 2 * halves[0] * halves[1])


@pytest.mark.parametrize(
    "name", ["output_blocks_2_1_conv", "output_blocks_2_2_conv", "up_blocks_0_upsamplers_0_conv"]
)
def test_the_lowest_upsampler_has_stabilitys_name(pipe: Any, tmp_path: Path, name: str) -> None:
    outputs, *inner = shape_of(pipe, UPSAMPLER)
    up, down = some(outputs, 2, 1, 1), some(2, *inner)
    tensors = {f"lora_unet_{name}.lora_up.weight": up, f"lora_unet_{name}.lora_down.weight": down}
    check(pipe, tmp_path, UPSAMPLER, tensors, product(up, down))


RANKS = {
    "r and alpha": ({"r": 2, "lora_alpha": 8}, 4.0),
    "rsLoRA": ({"r": 2, "lora_alpha": 8, "use_rslora": True}, 8 / math.sqrt(2)),
    "pattern": ({"r": 4, "lora_alpha": 4, "alpha_pattern": {LINEAR: 6.0}, "rank_pattern": {LINEAR: 2}}, 3.0),
    "escaped pattern": ({"r": 2, "lora_alpha": 4, "alpha_pattern": {r"attn2\.to_k": 6}}, 3.0),
    "two that fit": ({"r": 2, "lora_alpha": 4, "alpha_pattern": {r"attn2\.to_k": 6, LINEAR: 8}}, 3.0),
    "another layer's pattern": ({"r": 2, "lora_alpha": 4, "alpha_pattern": {r"attn1\.to_k": 6}}, 2.0),
    "nonsense": ({"r": 2, "lora_alpha": "x", "alpha_pattern": {"(a+)+$": 6}}, 1.0),
}


@pytest.mark.parametrize(("said", "scale"), RANKS.values(), ids=RANKS)
@pytest.mark.parametrize("where", ["header", "header of one model", "file beside"])
def test_an_alpha_that_is_no_tensor_counts(
    pipe: Any, tmp_path: Path, said: dict[str, Any], scale: float, where: str
) -> None:
    outputs, inputs = shape_of(pipe, LINEAR)
    up, down = some(outputs, 2), some(2, inputs)
    start = "unet" if where == "header" else "base_model.model"
    metadata = None
    if where == "file beside":
        (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **said}))
    else:
        prefix = "unet." if where == "header" else ""
        metadata = {"lora_adapter_metadata": json.dumps({f"{prefix}{k}": v for k, v in said.items()})}
    tensors = {f"{start}.{LINEAR}.lora_A.weight": down, f"{start}.{LINEAR}.lora_B.weight": up}
    check(pipe, tmp_path, LINEAR, tensors, product(up, down, scale), metadata=metadata)
    shown = read_header(tmp_path / "x.safetensors")
    assert (shown.network_dim, shown.network_alpha) == (2, pytest.approx(2 * scale))


def test_a_norm_takes_differences_alone() -> None:
    assert fits("full", {"diff": (8,), "diff_b": (8,)}, (8,))
    for kind, shapes in {
        "diag-oft": {"oft_blocks": (2, 4, 4)},
        "boft": {"oft_blocks": (1, 2, 4, 4)},
        "lora": {"lora_down.weight": (2, 8), "lora_up.weight": (8, 2)},
    }.items():
        assert not fits(kind, shapes, (8,))


def test_a_table_of_patterns_is_not_gone_through_for_each_layer(tmp_path: Path) -> None:
    said = {"unet.lora_alpha": 4, "unet.alpha_pattern": {f"m{number}": 1 for number in range(20_000)}}
    tensors = {
        f"unet.down_blocks.0.m{number}x.{part}.weight": torch.ones(1, 1)
        for number in range(3000)
        for part in ("lora_A", "lora_B")
    }
    save_file(tensors, tmp_path / "x.safetensors", metadata={"lora_adapter_metadata": json.dumps(said)})
    start = time.process_time()
    assert read_header(tmp_path / "x.safetensors").network_alpha == 4
    assert time.process_time() - start < 4  # 0.3; 9 when it was


def test_a_tensors_alpha_goes_before_what_is_said(pipe: Any, tmp_path: Path) -> None:
    outputs, inputs = shape_of(pipe, LINEAR)
    up, down = some(outputs, 2), some(2, inputs)
    tensors = {
        f"{kohya(LINEAR)}.lora_down.weight": down,
        f"{kohya(LINEAR)}.lora_up.weight": up,
        f"{kohya(LINEAR)}.alpha": torch.tensor(1.0, dtype=torch.bfloat16),
    }
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 99}))
    check(pipe, tmp_path, LINEAR, tensors, product(up, down, 0.5))
    assert read_header(tmp_path / "x.safetensors").network_alpha == 1.0


@pytest.mark.parametrize("module", [LINEAR, CONV])
def test_pefts_dora_has_its_alpha_and_its_bias(pipe: Any, tmp_path: Path, module: str) -> None:
    outputs, *inner = shape_of(pipe, module)
    up, down = some(outputs, 2, *[1] * (len(inner) - 1)), some(2, *inner)
    sides = (1, outputs, 1, 1) if module == CONV else (outputs,)
    magnitude, bias = 1 + some(outputs).abs(), some(outputs, seed=3)
    tensors = {
        f"unet.{module}.lora_A.weight": down,
        f"unet.{module}.lora_B.weight": up,
        f"unet.{module}.lora_B.bias": bias,
        f"unet.{module}.lora_magnitude_vector": magnitude.reshape(sides),
    }

    def formula(weight: torch.Tensor) -> torch.Tensor:
        moved = (weight.flatten(1) + 4 * up.flatten(1) @ down.flatten(1)).double()
        rows = [row / row.norm() * size for row, size in zip(moved, magnitude.double(), strict=True)]
        return (torch.stack(rows) - weight.flatten(1)).float().reshape(weight.shape)

    said = {"unet.r": 2, "unet.lora_alpha": 8, "unet.use_dora": True, "unet.lora_bias": True}
    check(
        pipe,
        tmp_path,
        module,
        tensors,
        formula,
        metadata={"lora_adapter_metadata": json.dumps(said)},
        bias=4 * bias,
    )


def test_differences_of_norms_and_biases_are_applied(pipe: Any, tmp_path: Path) -> None:
    outputs, inputs = shape_of(pipe, LINEAR)
    up, down = some(outputs, 2), some(2, inputs)
    width = shape_of(pipe, NORM)[0]
    w, b = some(width), some(width, seed=1)
    conv = shape_of(pipe, CONV)
    tensors = {
        f"{kohya(LINEAR)}.lora_up.weight": up,
        f"{kohya(LINEAR)}.lora_down.weight": down,
        f"{kohya(LINEAR)}.diff_b": some(outputs, seed=2),
        f"{kohya(NORM)}.w_norm": w,
        f"{kohya(NORM)}.b_norm": b,
        f"{kohya(LAYER_NORM)}.diff": 2 * w,
        f"{kohya(LAYER_NORM)}.diff_b": 3 * b,
        f"{kohya(CONV)}.diff": some(*conv),
        f"{kohya(PROJ)}.diff_b": some(shape_of(pipe, PROJ)[0], seed=4),
    }
    save_file(tensors, tmp_path / "x.safetensors")
    stack, said = put_on(pipe, tmp_path / "x.safetensors", 0.5)
    assert said == []
    wanted: Mapping[str, tuple[torch.Tensor, torch.Tensor | None]] = {
        LINEAR: (up @ down, some(outputs, seed=2)),
        NORM: (w, b),
        LAYER_NORM: (2 * w, 3 * b),
        CONV: (some(*conv), None),
    }
    for module, (weight, bias) in wanted.items():
        assert_adds(pipe.unet.get_submodule(module), 0.5 * weight, None if bias is None else 0.5 * bias)
    proj = pipe.unet.get_submodule(PROJ)
    inputs = some(2, width, 4, 4) if proj.weight.dim() == 4 else some(2, 3, width)
    ones = [1, 1] if proj.weight.dim() == 4 else []
    added = 0.5 * tensors[f"{kohya(PROJ)}.diff_b"].reshape(-1, *ones)
    torch.testing.assert_close((proj(inputs) - proj.forward(inputs)).detach(), added.expand_as(proj(inputs)))
    stack.apply([])


def test_a_set_weight_takes_the_weights_place(pipe: Any, tmp_path: Path) -> None:
    new = some(*shape_of(pipe, LINEAR))
    tensors = {f"diffusion_model.{LINEAR}.set_weight": new}
    check(pipe, tmp_path, LINEAR, tensors, lambda weight: new - weight)


@pytest.mark.parametrize("module", [LINEAR, CONV])
@pytest.mark.parametrize("on_input", [False, True])
@pytest.mark.parametrize("form", ["LyCORIS", "PEFT"])
def test_ia3(pipe: Any, tmp_path: Path, module: str, on_input: bool, form: str) -> None:
    shape = shape_of(pipe, module)
    factor = some(shape[int(on_input)])
    ones = [1] * (len(shape) - 2)
    line = (1, -1, *ones) if on_input else (-1, 1, *ones)
    if form == "PEFT":
        tensors = {f"base_model.model.{module}.ia3_l": 1 + factor.reshape(line)}
    else:
        own = factor.reshape(1, -1, 1, 1) if ones else factor
        tensors = {f"{kohya(module)}.weight": own, f"{kohya(module)}.on_input": torch.tensor(int(on_input))}
    check(pipe, tmp_path, module, tensors, lambda weight: weight * factor.reshape(line))
    assert read_header(tmp_path / "x.safetensors").algo == "ia3"


@pytest.mark.parametrize("module", [LINEAR, CONV])
def test_glora(pipe: Any, tmp_path: Path, module: str) -> None:
    """f(x) = W x + W A x + B x"""
    outputs, inputs, *kernel = shape_of(pipe, module)
    ones = [1] * len(kernel)
    a1, a2 = some(inputs, 3, *ones), some(3, inputs, *ones, seed=1)
    b1, b2 = some(outputs, 3, *ones), some(3, inputs, *kernel, seed=2)
    names = ("a1", "a2", "b1", "b2")
    tensors = {f"{kohya(module)}.{n}.weight": t for n, t in zip(names, (a1, a2, b1, b2), strict=True)}
    tensors[f"{kohya(module)}.alpha"] = torch.tensor(6.0)

    def formula(weight: torch.Tensor) -> torch.Tensor:
        a = a1.flatten(1) @ a2.flatten(1)
        flat = weight.reshape(outputs, inputs, -1)
        turned = torch.stack([flat[..., k] @ a for k in range(flat.shape[2])], dim=-1)
        return 2 * (turned.reshape(weight.shape) + (b1.flatten(1) @ b2.flatten(1)).reshape(weight.shape))

    check(pipe, tmp_path, module, tensors, formula)


def test_the_first_glora_has_its_factors_the_other_way_round(pipe: Any, tmp_path: Path) -> None:
    outputs, inputs = shape_of(pipe, LINEAR)
    a1, a2, b1, b2 = some(2, inputs), some(inputs, 2), some(2, inputs, seed=1), some(outputs, 2)
    tensors = {f"{kohya(LINEAR)}.{n}.weight": t for n, t in (("a1", a1), ("a2", a2), ("b1", b1), ("b2", b2))}
    tensors[f"{kohya(LINEAR)}.alpha"] = torch.tensor(2.0)
    check(pipe, tmp_path, LINEAR, tensors, lambda weight: weight @ a2 @ a1 + b2 @ b1)


def cayley(blocks: torch.Tensor, bound: float = 0.0) -> torch.Tensor:
    skew = (blocks - blocks.transpose(-1, -2)).double()
    if bound and skew.norm() > bound:
        skew = skew * bound / skew.norm()
    eye = torch.eye(blocks.shape[-1], dtype=torch.double)
    return (eye + skew) @ torch.inverse(eye - skew)


@pytest.mark.parametrize("module", [LINEAR, CONV])
@pytest.mark.parametrize("prefix", ["lora_unet_", "oft_unet_"])
def test_oft_of_lycoris_and_of_sd_scripts(pipe: Any, tmp_path: Path, module: str, prefix: str) -> None:
    outputs = shape_of(pipe, module)[0]
    blocks, alpha = some(outputs // 4, 4, 4), 0.05
    name = prefix + module.replace(".", "_")
    tensors = {f"{name}.oft_blocks": blocks, f"{name}.alpha": torch.tensor(alpha)}

    def formula(weight: torch.Tensor) -> torch.Tensor:
        turns = torch.block_diag(*cayley(blocks, alpha * outputs).transpose(1, 2))
        return ((turns @ weight.flatten(1).double()).float() - weight.flatten(1)).reshape(weight.shape)

    check(pipe, tmp_path, module, tensors, formula)


def test_early_oft_of_lycoris_holds_the_rotation_itself(pipe: Any, tmp_path: Path) -> None:
    outputs = shape_of(pipe, LINEAR)[0]
    turns = cayley(some(outputs // 4, 4, 4)).float()
    tensors = {f"{kohya(LINEAR)}.oft_diag": turns}
    check(pipe, tmp_path, LINEAR, tensors, lambda w: torch.block_diag(*turns.transpose(1, 2)) @ w - w)


@pytest.mark.parametrize("module", [LINEAR, CONV])
def test_boft(pipe: Any, tmp_path: Path, module: str) -> None:
    """Round i turns outputs together that lie 2**i * b / 2 apart in each stretch of twice that."""
    outputs, size, rounds = shape_of(pipe, module)[0], 4, 2
    blocks = some(rounds, outputs // size, size, size)
    rescale = 1 + some(outputs, 1)
    tensors = {f"{kohya(module)}.oft_blocks": blocks, f"{kohya(module)}.rescale": rescale}
    tensors[f"{kohya(module)}.alpha"] = torch.tensor(0.0)

    def formula(weight: torch.Tensor) -> torch.Tensor:
        turned = weight.flatten(1).double()
        for place, factors in enumerate(cayley(blocks)):
            apart = 2**place * size // 2
            order = [
                start + half * apart + inside
                for start in range(0, outputs, 2 * apart)
                for inside in range(apart)
                for half in (0, 1)
            ]
            back = torch.argsort(torch.tensor(order))
            turned = (torch.block_diag(*factors) @ turned[order])[back]
        return (rescale * turned).float().reshape(weight.shape) - weight

    check(pipe, tmp_path, module, tensors, formula)
    assert read_header(tmp_path / "x.safetensors").algo == "boft"


@pytest.mark.parametrize("module", [LINEAR, CONV])
@pytest.mark.parametrize("form", ["own blocks", "one block for all", "scaled"])
def test_onetrainers_oft_turns_the_inputs(pipe: Any, tmp_path: Path, module: str, form: str) -> None:
    _, *inner = shape_of(pipe, module)
    size, inputs = 4, math.prod(inner)
    rows = some(1 if form == "one block for all" else inputs // size, 6)
    name = f"{kohya(module)}.oft_R"
    tensors = {
        f"{name}.weight": rows,
        **({f"{name}.scaled_oft": torch.tensor(True)} if form == "scaled" else {}),
    }

    def formula(weight: torch.Tensor) -> torch.Tensor:
        turns = []
        for row in rows / (2 * math.sqrt(3) if form == "scaled" else 1):
            a, b, c, d, e, f = row.tolist()
            q = torch.tensor([[0, a, b, c], [-a, 0, d, e], [-b, -d, 0, f], [-c, -e, -f, 0.0]])
            turns.append(torch.eye(4) + 2 * q + 2 * q @ q + 2 * q @ q @ q + q @ q @ q @ q)
        turns = turns * (inputs // size) if len(turns) == 1 else turns
        return (weight.flatten(1) @ torch.block_diag(*turns)).reshape(weight.shape) - weight

    check(pipe, tmp_path, module, tensors, formula)


def test_old_text_processors_and_embeddings_of_words(pipe: Any, tmp_path: Path) -> None:
    """diffusers' first form for text encoders, and what ComfyUI's extractor makes of the table of words."""
    encoder = pipe.text_encoder
    up, down = some(16, 2), some(2, 16)
    vocabulary = encoder.get_input_embeddings().weight.shape[0]
    words = some(vocabulary, 2, seed=1)
    old = "text_encoder.text_model.encoder.layers.0.self_attn.to_{}_lora.{}.weight"
    table = "text_encoders.clip_l.transformer.text_model.embeddings.token_embedding.lora_{}.weight"
    tensors = {old.format(x, side): t for x in ("q", "out") for side, t in (("up", up), ("down", down))}
    tensors |= {table.format("up"): words, table.format("down"): down}
    save_file({key: tensor.clone() for key, tensor in tensors.items()}, tmp_path / "x.safetensors")
    stack, said = put_on(pipe, tmp_path / "x.safetensors")
    assert said == []
    layers = dict(encoder.named_modules())
    for end in ("q_proj", "out_proj"):
        layer = next(m for path, m in layers.items() if path.endswith(f"layers.0.self_attn.{end}"))
        assert_adds(layer, up @ down)
    embedding = encoder.get_input_embeddings()
    ids = torch.tensor([[1, 5, 7]])
    torch.testing.assert_close((embedding(ids) - embedding.forward(ids)).detach(), (words @ down)[ids])
    stack.apply([])
