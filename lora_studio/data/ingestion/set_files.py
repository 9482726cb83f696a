"""The files of a stored set."""

from __future__ import annotations

import logging
from pathlib import Path

from lora_studio.data.pixels.masks import is_mask
from lora_studio.data.training_set.run_subsets import REGULARISATION, SUBSETS
from lora_studio.parsing.text_encodings import readings

logger = logging.getLogger(__name__)


def originals_of(folder: Path) -> list[Path]:
    """The pictures of a set as they came, in order, without those for regularisation."""
    beside = folder / REGULARISATION
    found = (path for path in folder.rglob("*.png") if not path.is_relative_to(beside))
    return sorted(path for path in found if path.is_file() and not is_mask(path.stem))


def set_files(folder: Path) -> list[Path]:
    """All that an upload put into a set."""
    return sorted(
        path for path in folder.rglob("*") if path.suffix in {".png", ".txt"} or path == folder / SUBSETS
    )


def caption_beside(picture: Path) -> str:
    """The caption that came with a picture of a set; empty where there is none."""
    try:
        found = readings(picture.with_suffix(".txt").read_bytes())
    except FileNotFoundError:
        return ""
    except OSError as error:
        logger.warning("caption of %s: %s", picture.name, error)
        return ""
    return found[0].text.strip() if found else ""
