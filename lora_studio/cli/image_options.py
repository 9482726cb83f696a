"""The options that `generate` and `grid` share, and the request that they make."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lora_studio.errors import ConfigError, StoreError
from lora_studio.files import expanded
from lora_studio.lora.lora_folder import base_of
from lora_studio.lora.names import slugs_named
from lora_studio.parsing.numbers import MOST_SHOWN
from lora_studio.parsing.slugs import SLUG
from lora_studio.request import GenerateRequest, LoraUse

if TYPE_CHECKING:
    from lora_studio.records import LoraRecord
    from lora_studio.studio import Studio

PLAIN = (
    *("clip_skip", "guidance_rescale", "distilled_guidance_scale", "shift"),
    *("variation_seed", "variation_strength"),
    *("strength", "mask_blur", "padding_mask_crop"),
    *("hires_scale", "hires_steps", "hires_strength", "hires_upscaler", "image_format"),
)
"""Fields of a request that are options of the same name."""
OPTIONS = {
    **{"prompt": "--prompt", "negative_prompt": "--negative", "base": "--base", "sampler": "--sampler"},
    **{"num_inference_steps": "--steps", "guidance_scale": "--guidance", "seed": "--seed"},
    **{"width": "--size, width", "height": "--size, height", "count": "--count"},
    **{name: f"--{name.replace('_', '-')}" for name in PLAIN},
}
"""Options by the request's fields, for error messages."""
LORA = re.compile(r"([^:@]+)(?:@(\d+))?(?::([^:]+))?(?::([^:]+))?")


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt", help="what the picture shows")
    parser.add_argument("--negative", help="what it must not show")
    parser.add_argument(
        "--lora",
        metavar="NAME[@STEP][:WEIGHT[:TEXT_WEIGHT]]",
        action="append",
        default=[],
        help="a LoRA of the library by short name or title, or its checkpoint of a step; repeatable",
    )
    parser.add_argument(
        "--base", help="base model (default: the one the first LoRA was made for, else starter)"
    )
    parser.add_argument("--style", metavar="NAME", default="", help="a style by purpose, as portrait")
    parser.add_argument("--steps", metavar="N", help="denoising steps (default: the base model's)")
    parser.add_argument(
        "--guidance", metavar="G", help="how closely to follow the prompt (default: the base model's)"
    )
    parser.add_argument("--size", metavar="WxH", help="pixels, as 512x768 (default: the base model's)")
    parser.add_argument("--sampler", help="a sampler by name, as 'Euler a' (default: the base model's)")
    parser.add_argument("--seed", metavar="S", help="same seed, same picture (default: drawn)")
    parser.add_argument("--image", metavar="FILE", help="a picture to redraw")
    parser.add_argument("--mask", metavar="FILE", help="redraw only where this picture is white")
    parser.add_argument(
        "--settings-of", metavar="FILE", help="take the settings of a picture made here, in A1111 or in Forge"
    )
    for name in PLAIN:
        description = GenerateRequest.model_fields[name].description or ""
        sentence = (description[0].lower() + description[1:]).rstrip(".").replace("%", "%%")
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="X", help=sentence)


def build_request(arguments: argparse.Namespace, studio: Studio, **fields: Any) -> GenerateRequest:
    """The request in full; the LoRAs must be in the library. `fields` are further fields by name. Raises
    ConfigError, StoreError, and UnknownFormat for a picture that can't be read."""
    found = [_lora_called(studio, text) for text in arguments.lora]
    uses, records = [use for use, _ in found], [record for _, record in found]
    width, height = parse_size(arguments.size) if arguments.size else (None, None)
    given: dict[str, Any] = {
        "prompt": arguments.prompt,
        "negative_prompt": arguments.negative,
        "base": arguments.base or (base_of(records[0]) if records else ""),
        "loras": uses,
        "num_inference_steps": arguments.steps,
        "guidance_scale": arguments.guidance,
        "width": width,
        "height": height,
        "seed": arguments.seed,
        "sampler": arguments.sampler,
        **{name: getattr(arguments, name) for name in PLAIN},
        **_pictures(arguments, studio),
        **fields,
    }
    start = _settings_of(arguments)
    if arguments.prompt is None and not start:
        raise ConfigError("--prompt is missing.", "Say what the picture shows.", field="prompt")
    wanted = {**start, **{name: value for name, value in given.items() if value not in (None, "", [])}}
    return _styled(GenerateRequest.model_validate(wanted, context=OPTIONS), arguments.style)


def _lora_called(studio: Studio, text: str) -> tuple[LoraUse, LoraRecord]:
    """The use and the record of `--lora`, by slug or title. Raises ConfigError, StoreError."""
    names: list[LoraRecord] = []

    def find(name: str) -> str:
        if not SLUG.fullmatch(name) and not slugs_named(name, studio.settings.loras):
            raise ValueError(name)
        names.append(find_lora(studio, name))
        return names[-1].slug

    try:
        return parse_lora(text, find), names[-1]
    except ConfigError:
        if not slugs_named(text, studio.settings.loras):
            raise
    return LoraUse(slug=find(text), weight=1.0), names[-1]


def parse_lora(text: str, find: Callable[[str], str] = str) -> LoraUse:
    """The use in `slug`, `slug:0.8`, `slug:0.8:0.5` (in the text encoder), each also with `@200` after the
    slug for a checkpoint; `find` gives the slug of another name. Raises ConfigError, and whatever `find`
    raises but ValueError."""
    match = LORA.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        name, step, weight, text_weight = match.groups()
        values = {
            "weight": float(weight) if weight else 1.0,
            "text_encoder_weight": float(text_weight) if text_weight else None,
            "checkpoint": int(step) if step else None,
        }
        return LoraUse.model_validate({"slug": find(name), **values})
    except ValueError:
        raise ConfigError(
            f"--lora {text[:MOST_SHOWN]} is not a LoRA's short name or title with a weight between -4 and 4.",
            "Write it as in --lora my-cat:0.8; lora-studio list shows the names.",
            field="lora",
        ) from None


def parse_size(text: str) -> tuple[int, int]:
    """`512x768` as width and height. Raises ConfigError."""
    match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text.strip().lower())
    if not match:
        raise ConfigError(
            f"--size {text[:MOST_SHOWN]} is not a size.", "Write it as in --size 512x768.", field="size"
        )
    return int(match[1]), int(match[2])


def find_lora(studio: Studio, name: str) -> LoraRecord:
    """The LoRA of a slug or title. Raises StoreError with a list of some."""
    try:
        return studio.gallery.find_lora(name)
    except StoreError:
        studio.gallery.scan()  # a folder that was put there by hand
    try:
        return studio.gallery.find_lora(name)
    except StoreError as error:
        slugs = ", ".join(record.slug for record in studio.gallery.loras()[:8])
        hint = f"The library has {slugs}." if slugs else "The library is empty; train one first."
        raise StoreError(error.message, hint) from None


def _pictures(arguments: argparse.Namespace, studio: Studio) -> dict[str, str]:
    from lora_studio.images.input_store import take_in

    given = {"image": arguments.image, "mask_image": arguments.mask}
    return {
        name: take_in(expanded(path), studio.settings.inputs, mask=name == "mask_image")
        for name, path in given.items()
        if path
    }


def _settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    if not arguments.settings_of:
        return {}
    from lora_studio.images.image_metadata import read_settings

    found = read_settings(expanded(arguments.settings_of))
    for note in found.all_notes:
        print(f"note: {note}", file=sys.stderr)
    return found.request.model_dump()


def _styled(request: GenerateRequest, style: str) -> GenerateRequest:
    if not style:
        return request
    from lora_studio.prompts.styles import apply_style

    prompt, negative = apply_style(request.prompt, request.negative_prompt, style.lower(), base=request.base)
    return request.model_copy(update={"prompt": prompt, "negative_prompt": negative})
