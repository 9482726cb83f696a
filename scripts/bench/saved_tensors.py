"""Memory that a training step keeps for its way back: python -m scripts.bench.saved_tensors [--large]

The way forth of Stable Diffusion 1.5 or XL at full size with a LoRA, on tensors that have a size and no
numbers (torch's fake tensors), so it takes seconds and no memory. Each tensor that autograd keeps counts
once, at the module that keeps it first; weights don't count. Attention keeps what its fused kernels keep:
queries, keys, values, output, and a number for each query. Twice: as PyTorch has the modules, and as training
changes them. In half precision the layers are cast as on a CPU.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lora_studio.families.sd import StableDiffusionModel
from lora_studio.families.sdxl import StableDiffusionXLModel
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.lora.file.keys import DENOISER
from lora_studio.lora.network.attach import attach
from lora_studio.training.activations.frugal_modules import FrugalModules
from scripts.bench.full_size import sd15_pipeline, sdxl_pipeline
from scripts.bench.parts.kept_tensors import KeptTensors

TOKENS, DIM = 77, 4
SMALL = StableDiffusionModel, sd15_pipeline, 768
LARGE = StableDiffusionXLModel, sdxl_pipeline, 2048
"""The model's class, what makes it, and the width of its texts."""
MIB = 2**20


class FusedAttention(torch.autograd.Function):
    """The tensors that fused attention makes and keeps, without their numbers."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        pictures, heads, places, width = query.shape
        output = query.new_empty(pictures, places, heads, width).transpose(1, 2)
        sums = query.new_empty(pictures, heads, places, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, sums)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> None:
        raise NotImplementedError("only the way forth is counted")


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> Any:
    return FusedAttention.apply(query, key, value)


def measure(resolution: int, dtype: torch.dtype, *, large: bool, frugal: bool) -> KeptTensors:
    """The tensors that one picture keeps on its way through the denoiser."""
    kind, make, width = LARGE if large else SMALL
    with FakeTensorMode(allow_non_fake_inputs=True), quiet_libraries():
        denoiser = make().unet.requires_grad_(False)
        for module in denoiser.modules():
            if dtype != torch.float32 and isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                for name, weight in [*module.named_parameters()]:
                    setattr(module, name, torch.nn.Parameter(weight.to(dtype), requires_grad=False))
        parts: dict[str, Any] = {"tokenizer": None, "text_encoder": None, "vae": None, "process": None}
        model = kind(found=None, unet=denoiser, **parts)  # type: ignore[arg-type]
        # PEFT moves its layers to where they are already, which fake tensors can't.
        with mock.patch.object(torch.nn.Module, "to", lambda module, *_, **__: module):
            attach({DENOISER: denoiser}, model.targets(texts=False), dim=DIM, alpha=DIM)
        modules = FrugalModules([denoiser], is_half=dtype != torch.float32)
        side = resolution // 8
        conditions = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)}
        kept = KeptTensors([denoiser], frugal=frugal)
        with (
            mock.patch("torch.nn.functional.scaled_dot_product_attention", attention),
            torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16),
            kept.counted(),
        ):
            call = {
                "encoder_hidden_states": torch.empty(1, TOKENS, width),
                "added_cond_kwargs": conditions if large else None,
                "return_dict": False,
            }
            inputs = torch.empty(1, 4, side, side), torch.tensor([500])
            if frugal:
                denoiser(*inputs, **call)
            else:
                with modules.left_alone():
                    denoiser(*inputs, **call)
    return kept


def by_kind(found: Mapping[str, int]) -> Counter[str]:
    """Bytes by the name of the module, whatever block it is in."""
    kinds: Counter[str] = Counter()
    for path, nbytes in found.items():
        words = [word for word in path.split(".") if not re.fullmatch(r"\d+|default", word)]
        kinds[".".join(words[-3:])] += nbytes
    return kinds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--large", action="store_true", help="Stable Diffusion XL")
    parser.add_argument("--resolutions", default="256,512", help="sides of pictures (default: 256,512)")
    parser.add_argument("--precision", choices=("no", "bf16"), default="no")
    parser.add_argument("--most", type=int, default=12, help="kinds of modules to list (default: 12)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    result = {}
    for resolution in map(int, options.resolutions.split(",")):
        plain, frugal = (
            measure(resolution, dtype, large=options.large, frugal=frugal) for frugal in (False, True)
        )
        result[resolution] = {
            "plain MiB": round(plain.nbytes / MIB, 1),
            "frugal MiB": round(frugal.nbytes / MIB, 1),
            "ratio": round(frugal.nbytes / plain.nbytes, 3),
            "plain by kind": _largest(plain, options.most),
            "frugal by kind": _largest(frugal, options.most),
        }
    print(json.dumps(result, indent=2) if options.json else "\n".join(_lines(result)))
    return 0


def _largest(kept: KeptTensors, most: int) -> dict[str, float]:
    return {name: round(nbytes / MIB, 1) for name, nbytes in by_kind(kept.by_module).most_common(most)}


def _lines(result: Mapping[int, Mapping[str, Any]]) -> list[str]:
    found = []
    for resolution, figures in result.items():
        found.append(
            f"{resolution} px: {figures['plain MiB']} MiB kept, "
            f"{figures['frugal MiB']} as training keeps it, ratio {figures['ratio']}"
        )
        for side in ("plain", "frugal"):
            kinds = figures[f"{side} by kind"].items()
            found += [f"  {side}: {name or '(none)'} {size}" for name, size in kinds]
    return found


if __name__ == "__main__":
    sys.exit(main())
