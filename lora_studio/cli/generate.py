"""`lora-studio generate`: images from a prompt, with any number of LoRAs."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lora_studio.cli.progress import Progress
from lora_studio.cli.stopping import stop_request
from lora_studio.errors import ConfigError, StoreError
from lora_studio.request import GenerateRequest, LoraUse

if TYPE_CHECKING:
    from lora_studio.records import ImageRecord, LoraRecord
    from lora_studio.studio import Studio


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt", required=True, help="what the picture shows")
    parser.add_argument("--negative", default="", help="what it must not show")
    parser.add_argument(
        "--lora",
        metavar="SLUG[:WEIGHT]",
        action="append",
        default=[],
        help="a LoRA of the library; repeatable",
    )
    parser.add_argument(
        "--base", help="base model (default: the one the first LoRA was made for, else starter)"
    )
    parser.add_argument("--steps", metavar="N", help="denoising steps (default: the base model's)")
    parser.add_argument(
        "--guidance", metavar="G", help="how closely to follow the prompt (default: the base model's)"
    )
    parser.add_argument("--size", metavar="WxH", help="pixels, as 512x768 (default: the base model's)")
    parser.add_argument(
        "--sampler", default="", help="a sampler by name, as 'Euler a' (default: the base model's)"
    )
    parser.add_argument("--seed", metavar="S", help="same seed, same picture (default: drawn)")
    parser.add_argument("--count", metavar="N", default="1", help="how many pictures (default: 1)")
    parser.add_argument("--out", metavar="DIR", help="also copy the pictures into this folder")
    parser.add_argument("--json", action="store_true", help="print the pictures with their settings as JSON")


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.studio import open_studio

    uses = tuple(parse_lora(text) for text in arguments.lora)
    studio = open_studio(start_worker=False)
    try:
        request = build_request(arguments, uses, studio)
        progress = Progress(sys.stderr)
        with stop_request("Stopping; finished pictures are kept.") as asked:
            records = studio.generate(request, progress.show, asked)
            progress.close()
            stopped = asked()
        paths = [_deliver(record, arguments.out) for record in records]
        _report(records, paths, as_json=arguments.json)
        return 130 if stopped else 0
    finally:
        studio.close()


def parse_lora(text: str) -> LoraUse:
    """`slug` or `slug:0.8`. Raises ConfigError."""
    slug, colon, weight = text.partition(":")
    try:
        return LoraUse(slug=slug, weight=float(weight) if colon else 1.0)
    except ValueError:
        raise ConfigError(
            f"--lora {text} is not a LoRA's short name with a weight between -4 and 4.",
            "Write it as in --lora my-cat:0.8; lora-studio list shows the names.",
            field="lora",
        ) from None


def parse_size(text: str) -> tuple[int, int]:
    """`512x768` as width and height. Raises ConfigError."""
    match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text.strip().lower())
    if not match:
        raise ConfigError(f"--size {text} is not a size.", "Write it as in --size 512x768.", field="size")
    return int(match[1]), int(match[2])


def build_request(
    arguments: argparse.Namespace, uses: tuple[LoraUse, ...], studio: Studio
) -> GenerateRequest:
    """The request in full; the LoRAs must be in the library. Raises ConfigError, StoreError."""
    records = [_find_lora(studio, use.slug) for use in uses]
    width, height = parse_size(arguments.size) if arguments.size else (None, None)
    trained_on = base_of(records[0]) if records else ""
    return GenerateRequest.build(
        prompt=arguments.prompt,
        negative_prompt=arguments.negative,
        base=arguments.base or trained_on or "starter",
        loras=uses,
        num_inference_steps=arguments.steps,
        guidance_scale=arguments.guidance,
        width=width,
        height=height,
        seed=arguments.seed,
        count=arguments.count,
        sampler=arguments.sampler,
    )


def base_of(record: LoraRecord) -> str:
    """The base model a LoRA was trained on: as its training.json says, which keeps the path of a folder, or
    else by the name in the file."""
    path = Path(record.path)
    notes = (path if path.is_dir() else path.parent) / "training.json"
    try:
        name = json.loads(notes.read_text("utf-8"))["config"]["model"]["pretrained_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return record.base
    return str(name)


def _find_lora(studio: Studio, slug: str) -> LoraRecord:
    try:
        return studio.gallery.lora(slug)
    except StoreError:
        studio.gallery.scan()  # a folder that was put there by hand
    try:
        return studio.gallery.lora(slug)
    except StoreError as error:
        known = ", ".join(record.slug for record in studio.gallery.loras()[:8])
        hint = f"The library has {known}." if known else "The library is empty; train one first."
        raise StoreError(error.message, hint) from None


def _deliver(record: ImageRecord, folder: str | None) -> Path:
    source = Path(record.path)
    if folder is None:
        return source
    target = Path(folder).expanduser()
    try:
        target.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy2(source, target / source.name)).resolve()
    except OSError as error:
        raise ConfigError(
            f"The picture can't be copied to {target}: {error.strerror}.", f"It is kept at {source}."
        ) from None


def _report(records: list[ImageRecord], paths: list[Path], *, as_json: bool) -> None:
    if as_json:
        images = [
            {"path": str(path), "seed": record.seed, "width": record.width, "height": record.height,
             "request": record.request}
            for record, path in zip(records, paths, strict=True)
        ]  # fmt: skip
        print(json.dumps({"images": images}, indent=2))
        return
    for path in paths:
        print(path)
