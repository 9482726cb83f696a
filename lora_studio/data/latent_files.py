"""Latents on disk, found by content: the picture's bytes, its cut, and the encoder.

A file holds a line with a checksum, then safetensors. A damaged file is noticed, and made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import PIL

from lora_studio.files import make_room, reason, write_atomically

if TYPE_CHECKING:
    import torch

    Moments = tuple[torch.Tensor, torch.Tensor]

MARK = b"lora-studio latents 1 "
ENDING = ".latents"
MOST_BYTES = 8 * 2**30


@dataclass(kw_only=True)
class LatentFiles:
    """A folder of latents. `encoder` identifies the weights and the way they are used. `damaged` names files
    found to be broken, `problem` is the reason why nothing more is written."""

    folder: Path
    encoder: str
    damaged: list[str] = field(default_factory=list)
    problem: str = ""

    def path_of(self, *parts: object) -> Path:
        """The file for latents that these parts describe completely."""
        description = json.dumps([self.encoder, PIL.__version__, *parts], default=str)
        name = hashlib.sha256(description.encode()).hexdigest()
        return self.folder / name[:2] / f"{name}{ENDING}"

    def read(self, path: Path) -> Moments | None:
        """Mean and standard deviation, [c, h, w] each; None if there is no sound file."""
        from safetensors.torch import load

        try:
            content = path.read_bytes()
        except OSError:
            return None
        head, _, payload = content.partition(b"\n")
        if head != MARK + hashlib.sha256(payload).hexdigest().encode():
            self.damaged.append(path.name)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # so that what is used stays when room is made
        tensors = load(payload)
        return tensors["mean"], tensors["deviation"]

    def write(self, path: Path, moments: Moments) -> None:
        """Write latents if possible; a full disk must not end a training."""
        from safetensors.torch import save

        if self.problem:
            return
        mean, deviation = (moment.contiguous() for moment in moments)
        payload = save({"mean": mean, "deviation": deviation})
        head = MARK + hashlib.sha256(payload).hexdigest().encode() + b"\n"
        try:
            write_atomically(path, head + payload, lasting=False)
        except OSError as error:
            self.problem = reason(error)

    def make_room(self, most_bytes: int = MOST_BYTES) -> None:
        """Remove the least recently used files until the folder is no larger than `most_bytes`."""
        make_room(self.folder, f"*/*{ENDING}", most_bytes)
