"""LoRA files on disk: their headers, and their places in a folder.

Standard library only: the gallery reads files without loading torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_studio.catalog import family_from_version
from lora_studio.errors import UnknownFormat
from lora_studio.files import sha256
from lora_studio.lora.file.alphas import common_alpha, scalings
from lora_studio.lora.file.contents import contents_of, say_left_out
from lora_studio.lora.file.identify import Tensors, family_of_layers, no_network
from lora_studio.lora.file.keys import DORA
from lora_studio.lora.file.tensor_table import read_tensor_table
from lora_studio.parsing.plain_text import LONGEST_NAME, is_plain, number, plain_name, plain_text, plain_words

__all__ = ["read_tensor_table"]  # beside what is defined here

MOST_DIM, MOST_ALPHA, MOST_STEPS = 1 << 20, 1e6, 10**9
"""Values beyond these are nonsense; LyCORIS writes a dim of 100,000 for a full matrix."""
LONGEST_TITLE, LONGEST_TRIGGER = 120, 300
CHECKPOINT = re.compile(r".+-step(\d{8})\.safetensors")
DIFFUSERS_SKIPS = ("scheduler", "optimizer", "checkpoint")


@dataclass(frozen=True, kw_only=True)
class LoraHeader:
    """The facts of a LoRA file. `tensors` maps a name to (safetensors dtype, shape); `tensor_hash` is the
    SHA-256 of the tensor bytes, which renaming or new metadata does not change; `family` is a catalog family
    name, empty when nothing tells it; `algo` is the kind of network (see contents.TITLES), `dora` whether it
    is a DoRA; `left_out` is the end of a sentence on the parts that no base can use."""

    path: Path
    family: str
    base: str
    network_dim: int
    network_alpha: float
    metadata: Mapping[str, str]
    tensors: Tensors
    tensor_hash: str
    size_bytes: int
    algo: str = "lora"
    dora: bool = False
    left_out: str = ""

    @property
    def title(self) -> str:
        """The title in the metadata; may be empty."""
        return title_in(self.metadata)

    @property
    def trigger_word(self) -> str:
        return plain_words(self.metadata.get("modelspec.trigger_phrase"), LONGEST_TRIGGER)

    @property
    def steps(self) -> int:
        """Steps of the training; 0 when the metadata has none."""
        return int(number(self.metadata.get("ss_steps"), most=MOST_STEPS))

    def draws_as(self, other: LoraHeader) -> bool:
        """Whether both change a base in the same way: the same tensors by the same names, with the same
        scaling in the metadata. The bytes alone may be those of quite another file."""
        if self is other or self.tensor_hash != other.tensor_hash:
            return self is other
        ours, theirs = ((lora.tensors, scalings(lora.metadata, lora.path)) for lora in (self, other))
        return ours == theirs


def read_header(path: Path | str) -> LoraHeader:
    """Read and check a LoRA file. Raises BrokenFile, UnknownFormat (also for files that hold no LoRA)."""
    path = Path(path)
    metadata, tensors, data_start = read_tensor_table(path)
    contents = contents_of(tensors)
    if not contents.layers:
        raise UnknownFormat(*no_network(plain_name(path), tensors, contents), path=path)
    dim = number(metadata.get("ss_network_dim"), most=MOST_DIM) or min(contents.dim, MOST_DIM)
    alpha = number(metadata.get("ss_network_alpha"), most=MOST_ALPHA)
    return LoraHeader(
        path=path,
        family=family_from_words(metadata) or family_of_layers(contents),
        base=plain_text(metadata.get("ss_sd_model_name"), LONGEST_NAME),
        network_dim=int(dim),
        network_alpha=common_alpha(path, contents, metadata) or alpha or float(dim),
        metadata=metadata,
        tensors=tensors,
        tensor_hash=sha256(path, data_start),
        size_bytes=path.stat().st_size,
        algo=contents.algo,
        dora=any(DORA in layer.keys for layer in contents.layers.values()),
        left_out=say_left_out(contents.left_out, contents.values),
    )


def title_in(metadata: Mapping[str, str]) -> str:
    """The title in a file's metadata; may be empty."""
    titles = (metadata.get(key) for key in ("modelspec.title", "ss_output_name"))
    return next((title for text in titles if (title := plain_text(text, LONGEST_TITLE))), "")


def find_file(folder: Path | str) -> Path:
    """The LoRA file of a result folder. Raises UnknownFormat when there is none."""
    folder = Path(folder)
    there = (p for p in folder.glob("*.safetensors") if not p.name.startswith(".") and is_plain(p.name))
    files = sorted(path for path in there if path.is_file())
    named = [path for path in files if path.stem == folder.name]
    if not files:
        raise UnknownFormat(f"There is no .safetensors file in the folder {plain_name(folder)}.", path=folder)
    return (named or files)[0]


def checkpoint_files(folder: Path | str) -> dict[int, Path]:
    """The checkpoints in a result folder by their step."""
    found = {}
    for path in sorted(Path(folder).glob("checkpoints/*.safetensors")):
        match = CHECKPOINT.fullmatch(path.name)
        if match:
            found[int(match[1])] = path
    return found


def file_name(slug: str) -> str:
    """The name of a LoRA's file in its folder. diffusers, given a folder, leaves out files whose names
    contain some words; such LoRAs get diffusers' own standard name instead."""
    skipped = any(word in slug for word in DIFFUSERS_SKIPS)
    return "pytorch_lora_weights.safetensors" if skipped else f"{slug}.safetensors"


def family_from_words(metadata: Mapping[str, str]) -> str:
    """The family that the metadata names; empty where it names none."""
    versions = (metadata.get(key, "") for key in ("ss_base_model_version", "modelspec.architecture"))
    return next((family for version in versions if (family := family_from_version(version))), "")
