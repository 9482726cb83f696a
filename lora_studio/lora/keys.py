"""Names of LoRA tensors: Kohya's in the file, module paths in the libraries.

A file holds three tensors for each layer: `<name>.lora_down.weight`, `<name>.lora_up.weight` and
`<name>.alpha`, where name is a prefix for the part and the module path with every dot turned into an
underscore.
"""

from __future__ import annotations

DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
UNET, TEXT_ENCODER = "lora_unet", "lora_te"
TEXT_MODEL = "text_model."


def unet_name(module: str) -> str:
    return f"{UNET}_{module.replace('.', '_')}"


def text_encoder_name(module: str) -> str:
    """transformers dropped the level `text_model` from CLIP's module paths in version 5; files keep it."""
    module = TEXT_MODEL + module.removeprefix(TEXT_MODEL)
    return f"{TEXT_ENCODER}_{module.replace('.', '_')}"


def split_key(key: str) -> tuple[str, str]:
    """(layer's name, tensor's kind) of a key in a file: `DOWN`, `UP` or `ALPHA`."""
    name, _, kind = key.partition(".")
    return name, kind
