"""Reports on LoRA files: what each says of a file, and that no file is too odd for one."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio.errors import StudioError, UnknownFormat
from lora_studio.lora.file.contents import shown
from lora_studio.lora.inspection.file_report import EIGHT_BITS, NEEDS_BASE, inspect_file
from lora_studio.lora.inspection.lora_report import LoraReport
from lora_studio.lora.inspection.model_blocks import block_of
from lora_studio.lora.inspection.private_metadata import find_private, without_private
from lora_studio.lora.inspection.report_facts import block_rows, fact_lines
from lora_studio.lora.inspection.rounding import FORMATS, measure_on_base
from tests.support.layer_formulas import some
from tests.support.strange_loras import STRANGE, strange_lora

ATTENTION = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
FEED = "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj"
TEXT = "lora_te_text_model_encoder_layers_3_self_attn_q_proj"
Tensors = dict[str, torch.Tensor]


def pair(name: str, outputs: int, inputs: int, rank: int = 2, alpha: float | None = 1.0) -> Tensors:
    made = {f"{name}.lora_down.weight": some(rank, inputs), f"{name}.lora_up.weight": some(outputs, rank)}
    return made if alpha is None else {**made, f"{name}.alpha": torch.tensor(alpha)}


def report_of(folder: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> LoraReport:
    save_file(tensors, folder / "x.safetensors", metadata)
    report = inspect_file(folder / "x.safetensors")
    json.dumps(dataclasses.asdict(report), allow_nan=False)
    assert fact_lines(report)
    assert block_rows(report)
    return report


WHOLE = {**pair(ATTENTION, 32, 768), **pair(FEED, 24, 16, rank=4), **pair(TEXT, 24, 24)}


def test_a_sound_file_is_described(tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in WHOLE.items()}
    report = report_of(tmp_path, half, {"ss_sd_model_name": "v1-5.safetensors", "ss_steps": "300"})
    assert (report.what, report.kinds, report.family) == ("LoRA", {"LoRA": 3}, "sd1")
    assert report.family_source == "its layers"
    assert (report.ranks, report.alpha, report.spelling) == ({2: 2, 4: 1}, 1.0, "Kohya")
    assert report.precision == {"F16": 1.0}
    assert [block.block for block in report.blocks] == [
        "denoiser, down_blocks.0",
        "denoiser, mid_block",
        "text encoder, layers.3",
    ]
    assert report.norm == pytest.approx(sum((block.norm or 0) ** 2 for block in report.blocks) ** 0.5)
    assert report.training == {"base": "v1-5.safetensors", "steps": "300"}
    assert (report.broken_count, report.zero_count, report.left_out, report.private) == (0, 0, "", ())
    assert [one.outcome for one in report.programs] == ["whole"] * 5


PEFT = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
PAIR = (("A", (2, 768)), ("B", (32, 2)))
CHANGES: dict[str, tuple[Callable[[Tensors], Tensors], Callable[[LoraReport], bool]]] = {
    "a NaN": (
        lambda t: {**t, f"{FEED}.lora_up.weight": torch.full((24, 4), torch.nan)},
        lambda r: (
            (r.broken, r.broken_count, r.norm) == ((shown(FEED),), 1, None)
            and r.here.startswith("It is refused here")
            and all(one.outcome == "otherwise" and one.share == 0 for one in r.programs)
            and [one.fix for one in r.suggestions] == ["drop_broken"]
        ),
    ),
    "an alpha that is infinite": (
        lambda t: {**t, f"{FEED}.alpha": torch.tensor(torch.inf)},
        lambda r: r.broken_count == 1,
    ),
    "a zero": (
        lambda t: {**t, f"{FEED}.lora_up.weight": torch.zeros(24, 4)},
        lambda r: r.zero == (shown(FEED),),
    ),
    "nothing but zeros": (
        lambda t: {
            key: torch.zeros_like(tensor) if "lora_up" in key else tensor for key, tensor in t.items()
        },
        lambda r: r.here.startswith("It changes nothing"),
    ),
    "64 bits": (
        lambda t: {key: tensor.double() for key, tensor in t.items()},
        lambda r: [one.fix for one in r.suggestions] == ["save_precision=fp16"],
    ),
    "names of PEFT": (
        lambda t: {f"base_model.model.unet.{PEFT}.lora_{ab}.weight": some(*shape) for ab, shape in PAIR},
        lambda r: [one.fix for one in r.suggestions] == ["spelling=kohya"],
    ),
    "a tensor of nobody": (
        lambda t: {**t, "what.is.this": torch.ones(900)},
        lambda r: r.left_out_share > 0.1 and "what.is.this" in r.left_out,
    ),
    "a convolution": (
        lambda t: {
            "lora_unet_up_blocks_0_resnets_0_conv1.lora_down.weight": some(2, 8, 3, 3),
            "lora_unet_up_blocks_0_resnets_0_conv1.lora_up.weight": some(8, 2, 1, 1),
        },
        lambda r: r.what == "LoCon" and r.alpha_source.startswith("none"),
    ),
    "magnitudes": (
        lambda t: {**t, f"{ATTENTION}.dora_scale": torch.ones(1, 768)},
        lambda r: r.what == "DoRA" and NEEDS_BASE in r.notes and r.norm is None,
    ),
    "OFT": (
        lambda t: {f"{FEED}.oft_blocks": some(6, 4, 4)},
        lambda r: r.what == "OFT" and (r.blocks[0].relative or 0) > 0.1,
    ),
    "norms": (
        lambda t: {"lora_unet_down_blocks_0_attentions_0_norm.w_norm": some(32)},
        lambda r: r.what == "differences of norms and biases",
    ),
    "a mixture": (
        lambda t: {**t, f"{FEED.replace('ff_net_0_proj', 'ff_net_2')}.diff": some(16, 24)},
        lambda r: r.kinds == {"LoRA": 3, "full differences": 1},
    ),
    "an embedding": (
        lambda t: {**t, "bundle_emb.word.string_to_param.*": some(4, 768)},
        lambda r: r.embeddings == ("word",),
    ),
}


@pytest.mark.parametrize(("change", "holds"), CHANGES.values(), ids=CHANGES)
def test_what_is_odd_is_said(
    tmp_path: Path, change: Callable[[Tensors], Tensors], holds: Callable[[LoraReport], bool]
) -> None:
    assert holds(report_of(tmp_path, change(WHOLE)))


PROGRAMS: dict[str, tuple[Callable[[Tensors], Tensors], dict[str, str]]] = {
    "diffusers' names": (
        lambda t: {
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": some(2, 768),
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_B.weight": some(32, 2),
            "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj.lora_A.weight": some(2, 16),
            "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj.lora_B.weight": some(24, 2),
        },
        {"A1111": "refused", "ComfyUI": "in part", "InvokeAI": "refused", "diffusers": "whole"},
    ),
    "magnitudes": (
        lambda t: {**t, f"{ATTENTION}.dora_scale": torch.ones(1, 768)},
        {"A1111": "whole", "diffusers": "in part"},
    ),
    "LoKr": (
        lambda t: {f"{FEED}.lokr_w1": some(4, 4), f"{FEED}.lokr_w2": some(6, 4)},
        {"A1111": "whole", "Forge": "whole", "diffusers": "refused"},
    ),
    "a difference": (
        lambda t: {**t, "lora_unet_down_blocks_0_attentions_0_norm.diff": some(32)},
        {"ComfyUI": "whole", "diffusers": "refused"},
    ),
    "OFT": (
        lambda t: {**pair(ATTENTION, 32, 768), f"{FEED}.oft_blocks": some(6, 4, 4)},
        {"A1111": "whole", "Forge": "in part", "ComfyUI": "nearly", "diffusers": "refused"},
    ),
    "LyCORIS' prefix": (
        lambda t: {name.replace("lora_unet_", "lycoris_"): x for name, x in pair(FEED, 24, 16).items()},
        {"A1111": "refused", "ComfyUI": "whole", "diffusers": "refused"},
    ),
    "Z-Image of Kohya": (
        lambda t: {
            **pair("lora_unet_layers_0_attention_to_q", 32, 3840),
            **pair("lora_unet_layers_0_feed_forward_w1", 32, 3840),
        },
        {"A1111": "refused", "ComfyUI": "in part", "InvokeAI": "refused", "diffusers": "whole"},
    ),
    "Mochi": (
        lambda t: pair("transformer.transformer_blocks.0.attn1.add_q_proj", 32, 3072, alpha=None),
        {"A1111": "unknown", "diffusers": "unknown"},
    ),
}


@pytest.mark.parametrize(("change", "wanted"), PROGRAMS.values(), ids=PROGRAMS)
def test_other_programs_read_by_their_rules(
    tmp_path: Path, change: Callable[[Tensors], Tensors], wanted: dict[str, str]
) -> None:
    report = report_of(tmp_path, change(WHOLE))
    found = {one.program: one for one in report.programs}
    assert {name: found[name].outcome for name in wanted} == wanted
    for one in found.values():
        if one.outcome not in ("whole", "nearly"):
            assert one.why
        if one.outcome == "in part":
            assert one.share is not None
            assert 0 < one.share < 1


def test_the_share_is_that_of_squared_norms(tmp_path: Path) -> None:
    report = report_of(tmp_path, PROGRAMS["diffusers' names"][0](WHOLE))
    norms = [block.norm or 0.0 for block in report.blocks]
    comfy = next(one for one in report.programs if one.program == "ComfyUI")
    assert comfy.share == pytest.approx(norms[1] ** 2 / (norms[0] ** 2 + norms[1] ** 2))


def test_an_alpha_in_the_header_counts_only_where_it_is_read(tmp_path: Path) -> None:
    config = json.dumps({"unet.r": 2, "unet.lora_alpha": 8})
    tensors = PROGRAMS["diffusers' names"][0](WHOLE)
    kept = {name: tensor for name, tensor in tensors.items() if ".ff." in name}
    report = report_of(tmp_path, kept, {"lora_adapter_metadata": config})
    found = {one.program: one for one in report.programs}
    assert found["diffusers"].outcome == "whole"
    assert found["ComfyUI"].outcome == "otherwise"
    assert "0.25 times as strong" in found["ComfyUI"].sentence
    assert report.alpha_source == "the header"


def test_blocks_have_the_names_that_people_know() -> None:
    assert (
        block_of("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q") == "denoiser, input_blocks.4"
    )
    assert block_of("lora_unet_middle_block_1_proj_in") == "denoiser, mid_block"
    assert block_of("lora_unet_double_blocks_7_img_attn_qkv") == "denoiser, double_blocks.7"
    assert block_of("lora_te2_text_model_encoder_layers_31_mlp_fc1") == "text encoder 2, layers.31"
    assert block_of("lora_unet_conv_in") == "denoiser, other layers"


PRIVATE = {
    "ss_sd_model_name": r"C:\Users\ada\models\v1.safetensors",
    "ss_vae_name": "/home/grace/stable diffusion/vae.pt",
    "ss_output_name": "cat",
    "ss_note": "from \\\\tower\\share, ask ada@example.org",
    "ss_link": "http://10.0.0.7:7860/file, https://huggingface.co/x",
    "ss_key": "hf_abcdefghijklmnopqrstuvwxyz",
    "ss_dataset_dirs": '{"10_ada lovelace": {"n_repeats": 10, "img_count": 12}}',
    "ss_training_comment": "for Charles",
    "ss_bucket_info": '{"buckets": {"0": {"resolution": [64, 64], "count": 9}}}',
    "ss_tags": "cat / dog / bird, 1/2 and 2024/01/02",
}


def test_private_things_are_found_and_left_out() -> None:
    found = {(fact.key, fact.what): fact.words for fact in find_private(PRIVATE)}
    assert found["ss_sd_model_name", "a user name"] == "ada"
    assert found["ss_vae_name", "a folder"] == "/home/grace/stable diffusion/"
    assert found["ss_note", "the name of a machine"] == "tower"
    assert found["ss_note", "a mail address"] == "ada@example.org"
    assert found["ss_link", "the name of a machine"] == "10.0.0.7"
    assert ("ss_key", "a key to an account") in found
    assert (
        "10_ada lovelace" in found["ss_dataset_dirs", "names of folders with pictures, or words of captions"]
    )
    assert set(without_private(PRIVATE)) == {"ss_output_name", "ss_bucket_info", "ss_tags"}


@pytest.mark.parametrize(
    "text",
    [
        *("/alice.safetensors", "./datasets/alice smith/", "../alice/img", "~/alice", "pics/alice"),
        *("s3://bucket-alice/x", "alice@localhost", r"..\alice\img"),
    ],
)
def test_short_ways_to_say_where_and_who_are_private_too(text: str) -> None:
    (fact,) = find_private({"x": text})
    assert "alice" in fact.words
    assert without_private({"x": text, f"{text}": "1", "rank": "4"}).keys() <= {"rank", "pics/alice"}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("ss_sd_model_name", "owner/model-v1"),
        ("modelspec.architecture", "stable-diffusion-v1/lora"),
        ("modelspec.thumbnail", "data:image/jpeg;base64,/9j/4AAQSkZJRg/ab/cd"),
        ("x", "1girl, @_@, :/, and/or, 3/4"),
        ("x", "2024/01/02"),
    ],
)
def test_what_everybody_may_know_stays(key: str, text: str) -> None:
    assert without_private({key: text}) == {key: text}


def test_alphas_in_the_header_stay_when_private_things_go() -> None:
    config = {"unet.r": 2, "unet.lora_alpha": 8, "unet.base_model_name_or_path": "/home/ada/base/"}
    kept = without_private({"lora_adapter_metadata": json.dumps(config)})
    assert json.loads(kept["lora_adapter_metadata"]) == {"unet.r": 2, "unet.lora_alpha": 8}


def test_hostile_metadata_takes_no_time() -> None:
    texts = [
        "/" * 200_000,
        "a@" * 100_000,
        "/a b" * 60_000,
        "C:\\" * 80_000,
        "1." * 120_000,
        "\\\\a" * 80_000,
    ]
    begun = time.process_time()
    for text in texts:
        find_private({"ss_x": text})
    assert time.process_time() - begun < 3


@pytest.mark.parametrize("name", STRANGE)
def test_strange_metadata_gives_a_report(tmp_path: Path, name: str) -> None:
    report = inspect_file(strange_lora(tmp_path / "x.safetensors", STRANGE[name]))
    assert report.family == "sd1" or not report.family
    assert fact_lines(report)


def test_what_is_no_lora_is_named(tmp_path: Path) -> None:
    save_file({"first_stage_model.encoder.conv_in.weight": some(4, 4)}, tmp_path / "x.safetensors")
    with pytest.raises(UnknownFormat, match="autoencoder"):
        inspect_file(tmp_path / "x.safetensors")
    with pytest.raises(StudioError):
        inspect_file(tmp_path / "nowhere.safetensors")


class Base(torch.nn.Module):
    """A base with the file's layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = {FEED: torch.nn.Linear(16, 24)}


def test_what_survives_in_eight_bits_is_measured(tmp_path: Path) -> None:
    layers = Base().layers
    weight = layers[FEED].weight.detach()
    for strength in (1e-7, 10.0):
        save_file({f"{FEED}.diff": strength * some(24, 16)}, tmp_path / "x.safetensors")
        change = load_file(tmp_path / "x.safetensors")[f"{FEED}.diff"]
        found = measure_on_base(tmp_path / "x.safetensors", layers, "tiny")
        assert found.relative == pytest.approx(float(change.norm() / weight.norm()), rel=1e-5)
        for one in found.survivals:
            rounded = FORMATS[one.bits]
            moved = rounded(weight + change) - rounded(weight)
            assert one.arrives == pytest.approx(float((moved * change).sum() / change.pow(2).sum()), rel=1e-4)
            assert one.noise == pytest.approx(float((moved - change).norm() / change.norm()), rel=1e-4)
            if strength == 10:
                assert one.arrives == pytest.approx(1, abs=0.05)
                assert one.noise < 0.1
            elif one.bits == "fp8":  # int8's steps follow the largest weight, which moves
                assert one.unmoved > 0.9
    assert EIGHT_BITS


def test_layers_without_a_change_are_told_from_those_that_survive(tmp_path: Path) -> None:
    layers = {FEED: torch.nn.Linear(16, 24), ATTENTION: torch.nn.Linear(16, 24)}
    changes = {f"{FEED}.diff": some(24, 16), f"{ATTENTION}.diff": torch.full((24, 16), float("nan"))}
    save_file(changes, tmp_path / "x.safetensors")
    found = measure_on_base(tmp_path / "x.safetensors", layers, "tiny")
    assert found.layers == 1
    assert "50 % of the file" in found.left_out


@pytest.mark.parametrize("kind", ["fp8", "int8"])
def test_rounding_is_to_the_nearest_of_the_format(kind: str) -> None:
    weight = some(5, 64)
    rounded = FORMATS[kind](weight)
    assert len(rounded[0].unique()) <= 256
    step = weight.abs().amax(dim=1, keepdim=True) / 127 if kind == "int8" else weight.abs() / 8 + 2**-9
    assert ((rounded - weight).abs() <= step / 2 + 1e-7).all()
    assert torch.equal(FORMATS[kind](rounded), rounded) or kind == "int8"
