"""Names of LoRA tensors: Kohya's in the file, module paths in the libraries.

A file holds a few tensors for each layer, `<name>.<part>`, where name is a prefix for the part of the model
and the module path with every dot turned into an underscore. What the parts of a layer are called tells its
kind: `lora_down.weight` and `lora_up.weight` for LoRA, `hada_*` for LoHa, `lokr_*` for LoKr, `oft_blocks` for
OFT; `dora_scale` makes it a DoRA; `alpha` goes with all."""

from __future__ import annotations

import re

from lora_studio.lora.stability import to_stability

DOWN, UP, MID, ALPHA = "lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha"
DORA, OFT, RESCALE = "dora_scale", "oft_blocks", "rescale"
UNET, TEXT_ENCODER = "lora_unet", "lora_te"
TEXT_MODEL = "text_model."

LYCORIS = r"alpha|dora_scale|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2|oft_blocks|rescale"
PART = re.compile(
    rf"(?P<layer>.+?)(?:\.(?P<part>{LYCORIS}|lora_mid\.weight)"
    r"|\.(?P<magnitude>lora_magnitude_vector)(?:\.weight)?"
    r"|(?:[._]lora(?:_linear_layer)?)?[._](?P<matrix>lora_down|lora_A|down|lora_up|lora_B|up)\.weight)"
)
DOWNS = {"lora_down", "lora_A", "down"}


def unet_name(module: str) -> str:
    return f"{UNET}_{module.replace('.', '_')}"


def text_encoder_name(module: str) -> str:
    """transformers dropped the level `text_model` from CLIP's module paths in version 5; files keep it."""
    module = TEXT_MODEL + module.removeprefix(TEXT_MODEL)
    return f"{TEXT_ENCODER}_{module.replace('.', '_')}"


def layer_name(module_name: str) -> str:
    """Kohya's name for `unet.<module>`, `text_encoder.<module>` or `text_encoder_2.<module>`."""
    part, _, module = module_name.partition(".")
    if part == "unet":
        return unet_name(module)
    number = part.removeprefix("text_encoder").removeprefix("_")
    return text_encoder_name(module).replace(TEXT_ENCODER, TEXT_ENCODER + number, 1)


def split_key(key: str) -> tuple[str, str]:
    """(layer's name, part) of a key in a file that we wrote."""
    name, _, kind = key.partition(".")
    return name, kind


def read_key(key: str) -> tuple[str, str]:
    """(Kohya's layer name, part) of a tensor in any LoRA file; the part is empty for a tensor that no kind
    has. Knows Kohya's, LyCORIS', PEFT's and both of diffusers' spellings; a file's only text encoder and its
    first of two have the same name."""
    match = PART.fullmatch(key)
    if match is None:
        return key, ""
    if match["matrix"]:
        part = DOWN if match["matrix"] in DOWNS else UP
    else:
        part = match["part"] or DORA
    return same_layer(match["layer"]), part


def short_name(key: str) -> str:
    """The end of a tensor's name, for messages."""
    return ".".join(key.split(".")[-2:])[-60:]


def same_layer(name: str) -> str:
    """One name for a layer, whatever spelling the file has."""
    if name.startswith("lora_"):
        return name.replace("lora_te1_", "lora_te_", 1)
    name = name.removeprefix("base_model.model.").replace(".processor.", ".")
    return layer_name(re.sub(r"\bto_out$", "to_out.0", name))


def names_in_files(part: str, module: str, name: str) -> set[str]:
    """What a layer may be called in files, once `same_layer` has been through them: our own name, diffusers'
    module path, and Stability's path for the denoiser."""
    found = {same_layer(name), layer_name(f"{part}.{module}")}
    if part == "unet":
        found.add(f"{UNET}_{to_stability(module.replace('.', '_'))}")
    return found
