"""The mark that tells one encoder of pictures from another: latents on disk are only as good as this."""

from __future__ import annotations

import hashlib
import json

import torch

from lora_studio.training.model import Engine


def encoder_mark(engine: Engine) -> str:
    """A hash of the weights that encode pictures, and of all else that their numbers depend on."""
    codec = engine.base.codec
    digest = hashlib.sha256()
    for name, weight in codec.encoding_weights():
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(_bytes(weight))
    device = torch.cuda.get_device_name() if engine.device.kind == "cuda" else engine.device.kind
    layout = "channels last" if device == "cpu" else ""
    facts = [*codec.facts(), engine.base.found.family, device, layout, torch.__version__]
    if codec.is_centred:
        facts.append("centred")  # what was kept before had the scale alone
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _bytes(weight: torch.Tensor) -> memoryview:
    return weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
