"""The table of what other programs read, kept true: the loaders' rules against the tensors of files that are
really written, and diffusers itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file

from lora_studio.config import TrainConfig
from lora_studio.families import family_of
from lora_studio.families.base_files.locate import find_base
from lora_studio.generation.lora_lookup import WantedLora
from lora_studio.generation.lora_stack import LoraStack
from lora_studio.lora.file.lora_files import read_header
from lora_studio.lora.file.other_programs import (
    A1111,
    COMFYUI,
    DIFFUSERS,
    FORGE,
    INVOKEAI,
    PROGRAMS,
    WRITTEN,
    say,
    table,
    verdict,
)
from lora_studio.lora.network.attach import AttachedLora, attach
from lora_studio.lora.network.layers import Shape
from tests.support.clip_texts import encode_captions
from tests.support.tiny import SHAPES, make_tiny

DOCS = Path(__file__).parent.parent.parent / "docs"
SHAPE_OF = {
    "LoRA, LoCon": Shape(),
    "DoRA": Shape(dora_wd=True),
    "DoRA, `wd_on_output`": Shape(dora_wd=True, wd_on_output=True),
    "LoHa": Shape(kind="loha"),
    "LoKr": Shape(kind="lokr", factor=2),
    "LoHa or LoKr with DoRA": Shape(kind="loha", dora_wd=True),
    "OFT (`diag-oft`)": Shape(kind="diag-oft"),
}


@pytest.fixture(scope="module", params=SHAPES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(request.param, tmp_path_factory.mktemp(request.param) / request.param)


def written(base: Path, shape: Shape, *, conv: bool) -> tuple[Any, Any, AttachedLora]:
    """Family, parts and a network on the layers that a training takes, with weights that do something."""
    family = family_of(find_base(str(base)))
    parts = family.load()
    targets = parts.targets(conv=conv)
    lora = attach(parts.models(), targets, dim=2, alpha=2.0, shape=shape)
    random = torch.Generator().manual_seed(5)
    for part in lora.parts:
        for weight in lora.parameters(part):
            weight.data += 0.05 * torch.randn(weight.shape, generator=random)
    return family, parts, lora


@pytest.mark.parametrize("title", WRITTEN)
def test_the_rules_of_each_program_give_its_verdict(base: Path, title: str) -> None:
    _, _, lora = written(base, SHAPE_OF[title], conv=True)
    keys = list(lora.tensors())
    kind, magnitudes = WRITTEN[title]
    for program in PROGRAMS:
        unread = [key for key in keys if not program.takes(key)]
        found = verdict(program, kind, magnitudes)
        if found.reading in ("whole", "nearly"):
            assert unread == [], (program.name, title)
        if unread:
            assert found.reading in ("otherwise", "refused"), (program.name, title)
        if found.reading == "refused" and kind not in program.kinds:
            own = [key for key in keys if not key.endswith(".alpha")]
            assert set(own) <= set(unread), (program.name, title)


def test_what_is_known_of_single_programs() -> None:
    """From their sources; see the module."""
    assert not FORGE.takes("lora_unet_mid_block_attentions_0_proj_in.oft_blocks")
    assert A1111.takes("lora_unet_mid_block_attentions_0_proj_in.oft_blocks")
    assert COMFYUI.takes("lora_te1_text_model_encoder_layers_0_mlp_fc1.dora_scale")
    assert not DIFFUSERS.takes("lora_te1_text_model_encoder_layers_0_mlp_fc1.dora_scale")
    assert verdict(FORGE, "diag-oft").reading == "refused"
    assert verdict(INVOKEAI, "loha", "inputs").reading == "refused"
    assert verdict(INVOKEAI, "lora", "inputs").reading == "whole"
    assert verdict(A1111, "lora", "outputs").reading == "otherwise"
    assert verdict(DIFFUSERS, "lora", "inputs").reading == "otherwise"


def answer(parts: Any) -> torch.Tensor:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        text = encode_captions(parts, ["a disc"])
        return parts.denoise(latents, torch.tensor([500]), text)


@pytest.mark.slow
@pytest.mark.parametrize("conv", [False, True], ids=["attention", "convolutions too"])
@pytest.mark.parametrize("title", WRITTEN)
def test_diffusers_itself(base: Path, title: str, conv: bool, tmp_path: Path) -> None:
    family, parts, lora = written(base, SHAPE_OF[title], conv=conv)
    file = tmp_path / "x.safetensors"
    save_file(lora.tensors(), file)
    with lora.left_out():
        plain = answer(parts)
    kind, magnitudes = WRITTEN[title]
    found = verdict(DIFFUSERS, kind, magnitudes).reading
    pipeline = StableDiffusionXLPipeline if base.name == "sdxl" else StableDiffusionPipeline
    theirs = pipeline.from_pretrained(base)
    if found == "refused":
        with pytest.raises((ValueError, KeyError, IndexError)):
            theirs.load_lora_weights(file)
        return
    theirs.load_lora_weights(file)
    others = family.load()
    others.unet, others.text_encoder = theirs.unet, theirs.text_encoder
    others.text_encoder_2 = getattr(theirs, "text_encoder_2", None)
    drawn = answer(others)
    fresh = family.load()
    LoraStack(fresh.models(), "x").apply([WantedLora(slug="x", weight=1.0, header=read_header(file))])
    ours = answer(fresh)
    assert (ours - plain).abs().max() > 1e-4
    assert torch.allclose(drawn, ours, atol=2e-5) == (found == "whole")


def test_the_guide_has_the_table_and_the_help_says_nothing_else() -> None:
    assert table() in (DOCS / "guide" / "files.md").read_text("utf-8")
    fields = TrainConfig.model_fields["network"].annotation.model_fields
    said = fields["algo"].description
    for program in PROGRAMS:
        reads_all = all(verdict(program, *kind).reading == "whole" for kind in WRITTEN.values())
        assert reads_all or f"{program.name} reads all" not in said
    assert "Forge" in say("diag-oft").partition(". ")[2]
