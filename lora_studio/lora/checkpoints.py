"""The choice of one of a run's checkpoints as the LoRA's file. No torch in here."""

from __future__ import annotations

from pathlib import Path

from lora_studio.errors import StoreError
from lora_studio.files import copy_atomically
from lora_studio.lora.file.lora_files import checkpoint_files, find_file, read_header

__all__ = ["checkpoint_files", "chosen_step", "use_checkpoint"]


def chosen_step(folder: Path) -> int:
    """The step that the LoRA's file was saved at, by its own metadata; 0 when it does not say. Raises
    BrokenFile, UnknownFormat."""
    return read_header(find_file(folder)).steps


def use_checkpoint(folder: Path, step: int) -> int:
    """Put the checkpoint of `step` in the place of the LoRA's file and return the step that was there before,
    which is kept as a checkpoint, so that the same call brings it back. At every moment there is one whole
    file. Raises StoreError for a step that was not kept, BrokenFile, OSError."""
    file, before = find_file(folder), chosen_step(folder)
    if step == before:
        return before
    wanted = checkpoint_files(folder).get(step)
    if wanted is None:
        raise StoreError(f"There is no checkpoint of step {step}.", "Pick one from the board.")
    read_header(wanted)  # a damaged one must not take the place of a sound one
    if before not in checkpoint_files(folder):
        name = f"{folder.name}-step{before:08d}.safetensors"
        copy_atomically(file, folder / "checkpoints" / name)
    copy_atomically(wanted, file)
    return before
