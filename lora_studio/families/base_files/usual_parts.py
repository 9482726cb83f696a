"""The parts that a checkpoint file lacks: configuration and tokenizer, as its family was published with. They
travel with the package, so that a file needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.catalog import SD2, SDXL

if TYPE_CHECKING:
    from lora_studio.families.base_files.found_base import FoundBase

USUAL = Path(__file__).parent / "usual"
TOKENIZER = USUAL / "tokenizer"
"""CLIP's vocabulary, which all these families read prompts with."""
OPEN_CLIP_PADDING = "!"
"""OpenCLIP's text encoders are filled up with token 0, OpenAI's with the end mark."""


def config_folder(found: FoundBase) -> Path:
    """A folder with the base's configuration in diffusers' layout: beside its file, else its family's."""
    beside = Path(found.path_or_id).with_suffix("")
    if (beside / "model_index.json").is_file():
        return beside
    variant = "-v" if found.family == SD2 and found.predicts_velocity else ""
    return USUAL / f"{found.family}{variant}"


def tokenizer_folder(found: FoundBase) -> Path:
    """The folder of the (first) tokenizer of a base in a file."""
    folder = config_folder(found)
    return folder / "tokenizer" if (folder / "tokenizer").is_dir() else TOKENIZER


def usual_tokenizers(found: FoundBase) -> dict[str, Any]:
    """CLIP's tokenizers by their names in diffusers' pipelines; none where the configuration has its own."""
    from transformers import CLIPTokenizer

    if tokenizer_folder(found) != TOKENIZER:
        return {}
    first = {"pad_token": OPEN_CLIP_PADDING} if found.family == SD2 else {}
    tokenizers = {"tokenizer": CLIPTokenizer.from_pretrained(TOKENIZER, **first)}
    if found.family == SDXL:
        second = CLIPTokenizer.from_pretrained(TOKENIZER, pad_token=OPEN_CLIP_PADDING)
        tokenizers["tokenizer_2"] = second
    return tokenizers
