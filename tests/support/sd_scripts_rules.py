"""How sd-scripts 0.10.1 reads an argument TOML, its dataset and its prompts: written from its behaviour,
apart from our own reader."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
OF_SUBSETS = {"image_dir", "num_repeats", "is_reg", "class_tokens", "caption_extension", "caption_prefix"}
OF_MASKED_SUBSETS = OF_SUBSETS - {"is_reg", "class_tokens"} | {"conditioning_data_dir"}
"""Of datasets whose subsets all have masks; in others none may have any."""
FLAGS = {"w": int, "h": int, "s": int, "l": float, "d": int}


def arguments(file: Path) -> dict[str, Any]:
    """Sections are flattened one level deep."""
    flat: dict[str, Any] = {}
    for name, value in tomllib.loads(file.read_text("utf-8")).items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat


@dataclass(frozen=True)
class Shown:
    """A picture as it is trained on."""

    name: str
    caption: str
    repeats: int
    is_reg: bool


def pictures(options: dict[str, Any]) -> list[Shown]:
    subsets: list[dict[str, Any]] = []
    if options.get("dataset_config"):
        data = tomllib.loads(Path(options["dataset_config"]).read_text("utf-8"))
        assert set(data) <= {"general", "datasets"}
        for dataset in data["datasets"]:
            masked = all("conditioning_data_dir" in subset for subset in dataset["subsets"])
            for subset in dataset["subsets"]:
                known = OF_MASKED_SUBSETS if masked else OF_SUBSETS
                assert set(subset) <= known, "its schema refuses other keys"
                subsets.append({**data.get("general", {}), **subset})
    else:
        for root, is_reg in (("train_data_dir", False), ("reg_data_dir", True)):
            for folder in sorted(Path(options[root]).iterdir()) if options.get(root) else []:
                match = re.fullmatch(r"(\d+)_(.*)", folder.name)
                if folder.is_dir() and match:
                    facts = {"num_repeats": int(match[1]), "class_tokens": match[2], "is_reg": is_reg}
                    subsets.append({"image_dir": str(folder), **facts})
    assert subsets, "No data found"
    return [one for subset in subsets for one in _subset(subset, options)]


def _subset(subset: dict[str, Any], options: dict[str, Any]) -> list[Shown]:
    ending = subset.get("caption_extension") or options.get("caption_extension") or ".caption"
    prefix = subset.get("caption_prefix") or options.get("caption_prefix") or ""
    found = []
    for path in sorted(Path(subset["image_dir"]).iterdir()):
        if path.suffix not in PICTURES:
            continue
        text = path.with_suffix(ending)
        caption = subset.get("class_tokens", "")
        if text.is_file():
            caption = text.read_text("utf-8").split("\n")[0].strip()
        caption = f"{prefix} {caption}" if prefix else caption
        if masks := subset.get("conditioning_data_dir"):
            mask = [one for one in Path(masks).iterdir() if one.stem == path.stem and one.suffix in PICTURES]
            assert mask, "it breaks off without a mask"
            assert pixels(mask[0]).size == pixels(path).size, "it breaks off for a mask of another size"
        found.append(Shown(path.name, caption, subset.get("num_repeats", 1), subset.get("is_reg", False)))
    return found


def pixels(path: Path) -> Image.Image:
    """A picture is neither turned nor converted to sRGB, and what lies below transparent parts shows."""
    with Image.open(path) as image:
        return image.convert("RGB")


def prompts(options: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """What is drawn at the first sample: without a readable file it breaks off."""
    lines = [line.strip() for line in Path(options["sample_prompts"]).read_text("utf-8").splitlines()]
    found = []
    for line in lines:
        if line and not line.startswith("#"):
            prompt, *flags = line.split(" --")
            pairs = (flag.split(" ", 1) for flag in flags)
            found.append((prompt, {name: FLAGS[name](value) for name, value in pairs}))
    return found
