"""Pictures from npm packages: fetch, unpack, render to square RGBA, keep as one array per size."""

import io
import json
import re
import subprocess
import tarfile
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from recipes.starter import settings
from recipes.starter.settings import PictureSet

RENDER_SIZE = 256


@dataclass(frozen=True)
class Pictures:
    """All pictures of one size: ``rgba`` uint8 [N, S, S, 4], and what each one shows."""

    rgba: np.ndarray
    styles: list[str]
    slugs: list[str]

    def index(self, slug: str, style: str) -> int | None:
        """Row of the picture of ``slug`` in ``style``, or None where the set lacks it."""
        return self._rows.get((slug, style))

    @cached_property
    def _rows(self) -> dict[tuple[str, str], int]:
        return {shown: row for row, shown in enumerate(zip(self.slugs, self.styles, strict=True))}


def fetch(item: PictureSet) -> Path:
    """Folder of the unpacked package; downloaded with the ordinary npm client on first use."""
    folder = settings.WORK / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / item.archive.removesuffix(".tgz")
    if not (target / "package").is_dir():
        if not (folder / item.archive).is_file():
            command = ["npm", "pack", f"{item.package}@{item.version}", "--silent"]
            subprocess.run(command, cwd=folder, check=True)
        with tarfile.open(folder / item.archive) as archive:
            archive.extractall(target, filter="data")
    return target / "package"


def emoji_names() -> list[dict[str, str]]:
    """Code points (``hex``) and ``slug`` of every emoji of the groups that the recipe uses."""
    entries = json.loads((fetch(settings.NAMES_PACKAGE) / "en" / "data.json").read_text("utf-8"))
    return [
        {"hex": bare_code(entry["hexcode"]), "slug": slug(entry["label"])}
        for entry in entries
        if entry.get("group") in settings.GROUPS
    ]


def slug(label: str) -> str:
    """ "Cat face" -> "cat-face", the way icon sets name their pictures."""
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower().replace("'", "")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def bare_code(code: str) -> str:
    """Code points in capitals, without the variation selector that only some sets spell out."""
    return re.sub(r"-?FE0F", "", code.upper())


def picture_finder(item: PictureSet) -> Callable[[dict[str, str]], Image.Image | None]:
    """A function from an emoji to its picture (RGBA, any size), or None where the set lacks it."""
    package = fetch(item)
    if (package / "assets").is_dir():
        files = {bare_code(path.stem): path for path in (package / "assets").glob("*.webp")}
        return lambda emoji: Image.open(files[emoji["hex"]]) if emoji["hex"] in files else None
    icons = json.loads((package / "icons.json").read_text("utf-8"))
    by_code = {bare_code(k): v for k, v in json.loads((package / "chars.json").read_text("utf-8")).items()}
    aliases = icons.get("aliases", {})

    def find(emoji: dict[str, str]) -> Image.Image | None:
        for name in (by_code.get(emoji["hex"]), emoji["slug"], emoji["slug"].replace("-", "")):
            name = aliases.get(name, {}).get("parent", name)
            if name in icons["icons"]:
                return render_icon(icons["icons"][name], icons)
        return None

    return find


def render_icon(icon: dict, defaults: dict) -> Image.Image:
    """Draw one Iconify icon at the render size."""
    import resvg_py

    left, top = icon.get("left", 0), icon.get("top", 0)
    width = icon.get("width", defaults.get("width", 16))
    height = icon.get("height", defaults.get("height", 16))
    body = icon["body"].replace("currentColor", "#1b1b1b")
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{RENDER_SIZE}" '
        f'height="{round(RENDER_SIZE * height / width)}">{body}</svg>'
    )
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg))))


def square(picture: Image.Image, size: int) -> np.ndarray:
    """Centre on a transparent square and resize with premultiplied alpha; uint8 [size, size, 4]."""
    picture = picture.convert("RGBA")
    side = max(picture.size)
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    # Pillow's RGBa mode is premultiplied: with RGBA the colour of invisible pixels bleeds into the edges.
    return np.asarray(canvas.convert("RGBa").resize((size, size), Image.Resampling.LANCZOS).convert("RGBA"))


def build(size: int) -> None:
    """Render every picture of every set at ``size`` pixels and keep them in the work folder."""
    emojis, rgba, styles, slugs = emoji_names(), [], [], []
    for item in (*settings.TRAINING_SETS, settings.INK_SET):
        find = picture_finder(item)
        for emoji in emojis:
            picture = find(emoji)
            if picture is not None:
                rgba.append(square(picture, size))
                styles.append(item.style)
                slugs.append(emoji["slug"])
        print(f"{item.style}: {styles.count(item.style)} pictures", flush=True)
    np.save(settings.WORK / f"pictures_{size}.npy", np.stack(rgba))
    index = json.dumps({"styles": styles, "slugs": slugs})
    (settings.WORK / f"pictures_{size}.json").write_text(index, "utf-8")


def load(size: int) -> Pictures:
    """The pictures of one size; rendered on first use."""
    if not (settings.WORK / f"pictures_{size}.json").is_file():
        settings.WORK.mkdir(parents=True, exist_ok=True)
        build(size)
    index = json.loads((settings.WORK / f"pictures_{size}.json").read_text("utf-8"))
    return Pictures(np.load(settings.WORK / f"pictures_{size}.npy"), index["styles"], index["slugs"])


def on_background(rgba: np.ndarray, background: torch.Tensor) -> torch.Tensor:
    """Lay pictures on colours: uint8 [N, S, S, 4] and [N, 3] in 0..1 -> float [N, 3, S, S] in -1..1."""
    pixels = torch.from_numpy(np.ascontiguousarray(rgba)).float().permute(0, 3, 1, 2) / 255
    colour, alpha = pixels[:, :3], pixels[:, 3:]
    return (colour * alpha + background[:, :, None, None] * (1 - alpha)) * 2 - 1
