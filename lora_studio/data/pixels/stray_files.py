"""Stray files among pictures: thumbnails and trash of systems, caches of trainers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

Leftover = Literal["", "of a system", "cache", "condition", "edits"]

FOLDERS = {
    *("__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "recycler", "recycled", "#snapshot"),
    *("@recently-snapshot", "system volume information", "lost+found", "__pycache__"),
}
FILES = {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "picasa.ini"}
HIDDEN_TRASH = (".trash", ".thumb", ".ipynb_checkpoints", ".@__thumb")
STARTS = (".", "synophoto_", "synofile_thumb", "synoindex_")
CACHES = (".npz", ".npy", ".pt", ".pth", ".safetensors", ".latent", ".latents", ".lmdb", ".pkl")
"""Endings of latents and texts cached by sd-scripts, OneTrainer, SimpleTuner, ai-toolkit and us."""
EDITS = "edits.jsonl"
"""The log of our edits: of use in its folder only."""
CONDITIONS = ("-condlabel",)
"""Endings of OneTrainer's pictures for models that draw after another picture."""


def is_trash(folder: str) -> bool:
    """Whether a folder's name is one that systems give, not people."""
    return folder.lower() in FOLDERS or folder.lower().startswith(HIDDEN_TRASH)


def leftover(parts: Sequence[str]) -> Leftover:
    """The kind of a stray file by its path inside of the upload; empty for a file that may be meant."""
    names = [part.lower() for part in parts]
    if any(name in FOLDERS or name.startswith(".") for name in names[:-1]):
        return "of a system"
    last = names[-1]
    if last in FILES or last in FOLDERS or last.startswith(STARTS):
        return "of a system"
    if last.endswith(CACHES):
        return "cache"
    if last == EDITS:
        return "edits"
    return "condition" if last.rpartition(".")[0].endswith(CONDITIONS) else ""


def leftover_remarks(found: Sequence[tuple[Leftover, str]]) -> Iterator[str]:
    """A sentence for each kind of stray file. `found` are kinds with names for people."""
    lines: dict[Leftover, tuple[str, str]] = {
        "of a system": ("file", "that systems leave behind"),
        "cache": ("cache", "of other trainings"),
        "edits": ("list", "of edits"),
        "condition": ("picture", "for models that draw after another picture (-condlabel)"),
    }
    for kind, (noun, what) in lines.items():
        names = [name for this, name in found if this == kind]
        if names:
            counted = f"1 {noun}" if len(names) == 1 else f"{len(names)} {noun}s"
            yield f"{counted} {what} passed over, like {names[0]}."
