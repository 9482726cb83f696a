"""Styles by purpose: words around a prompt that make it a portrait, a sticker, an icon.

Templates are in words that Stable Diffusion models know. The embedded base knows a few hundred words of its
own, so each style has a template for it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_studio.catalog import is_embedded
from lora_studio.errors import ConfigError

SLOT = "{prompt}"
PREVIEWS = Path(__file__).resolve().parent.parent / "ui" / "assets" / "styles"


@dataclass(frozen=True, kw_only=True)
class Style:
    """A style's templates: `prompt` and `starter` have `{prompt}` where the user's own goes; `starter` is for
    the embedded base. `ratio` is width to height, `steps` 0 where the base's own number is right. `subject`
    is the motif of the preview."""

    key: str
    title: str
    purpose: str
    prompt: str
    negative: str
    starter: str
    subject: str
    ratio: tuple[int, int] = (1, 1)
    steps: int = 0

    @property
    def preview(self) -> Path:
        """A WebP of 128 px that the embedded base has drawn (`scripts/style_previews.py`)."""
        return PREVIEWS / f"{self.key}.webp"


_STYLES = (
    Style(
        key="portrait",
        title="Portrait",
        purpose="A face or a figure, close, in soft light.",
        prompt="portrait of {prompt}, head and shoulders, looking at the viewer, soft window light, "
        "shallow depth of field, 85mm photograph",
        negative="deformed face, extra fingers, crossed eyes, blurry, low quality, text, watermark",
        starter="{prompt} on a purple background, 3d style",
        subject="owl",
        ratio=(2, 3),
    ),
    Style(
        key="product",
        title="Product",
        purpose="One thing on an empty ground, as in a catalogue.",
        prompt="product photograph of {prompt}, centered, seamless light gray background, studio lighting, "
        "soft shadow, sharp focus",
        negative="people, hands, clutter, text, watermark, cropped, blurry, low quality",
        starter="{prompt} on a gray background, 3d style",
        subject="camera",
    ),
    Style(
        key="illustration",
        title="Illustration",
        purpose="A drawn picture for an article or a book.",
        prompt="digital illustration of {prompt}, clean shapes, warm palette, gentle shading, storybook art",
        negative="photograph, noise, blurry, text, signature, watermark, low quality",
        starter="{prompt} on a yellow background, flat style",
        subject="house",
        ratio=(4, 3),
    ),
    Style(
        key="sticker",
        title="Sticker",
        purpose="A figure with a bold outline on white, to be cut out.",
        prompt="die-cut sticker of {prompt}, thick white border, bold outline, flat bright colors, "
        "plain white background",
        negative="photograph, background scenery, shadow, text, watermark, blurry, cropped",
        starter="{prompt}, flat style",
        subject="fox",
    ),
    Style(
        key="landscape",
        title="Landscape",
        purpose="A wide view outdoors.",
        prompt="wide landscape of {prompt}, golden hour, dramatic sky, layered distance, "
        "highly detailed photograph",
        negative="people, text, watermark, frame, oversaturated, blurry, low quality",
        starter="{prompt} on a blue background, 3d style",
        subject="mountain",
        ratio=(3, 2),
    ),
    Style(
        key="pattern",
        title="Pattern",
        purpose="An even surface for paper, cloth or a background.",
        prompt="seamless repeating pattern of {prompt}, evenly spaced, flat lay, simple shapes, "
        "two-color background",
        negative="single object, perspective, shadow, text, watermark, blurry, border",
        starter="{prompt} on a pink background, flat style",
        subject="strawberry",
    ),
    Style(
        key="icon",
        title="Icon",
        purpose="A sign that still reads when it is small.",
        prompt="app icon of {prompt}, single centered symbol, simple geometric shapes, flat colors, "
        "rounded square, high contrast",
        negative="photograph, text, letters, clutter, fine detail, gradient noise, watermark",
        starter="{prompt}, twemoji style",
        subject="rocket",
    ),
    Style(
        key="poster",
        title="Poster",
        purpose="A tall picture with a strong shape, seen from afar.",
        prompt="minimalist poster of {prompt}, bold composition, limited palette, strong silhouette, "
        "screen print texture",
        negative="text, letters, photograph, clutter, low contrast, watermark, blurry",
        starter="{prompt} on a red background, flat style",
        subject="dinosaur",
        ratio=(2, 3),
    ),
    Style(
        key="photo",
        title="Photograph",
        purpose="As a camera would see it.",
        prompt="photograph of {prompt}, natural light, sharp focus, realistic colors, 35mm film",
        negative="drawing, painting, render, cartoon, deformed, blurry, low quality, text, watermark",
        starter="{prompt}, 3d style",
        subject="hamburger",
        ratio=(3, 2),
    ),
    Style(
        key="figure",
        title="Toy figure",
        purpose="A small rounded character, as if moulded.",
        prompt="cute toy figure of {prompt}, rounded shapes, smooth clay, soft studio light, "
        "pastel background",
        negative="realistic skin, scary, text, watermark, blurry, low quality",
        starter="{prompt} on a green background, 3d style",
        subject="teddy bear",
    ),
    Style(
        key="watercolor",
        title="Watercolour",
        purpose="Loose paint on paper.",
        prompt="watercolor painting of {prompt}, loose brushwork, soft edges, visible paper texture, "
        "light washes",
        negative="photograph, hard outlines, text, signature, watermark, low quality",
        starter="{prompt}, noto style",
        subject="tulip",
        ratio=(3, 4),
    ),
    Style(
        key="night",
        title="Night scene",
        purpose="Dark, with a few bright lights.",
        prompt="{prompt} at night, deep blue darkness, glowing lights, cinematic contrast, light haze",
        negative="daylight, overexposed, text, watermark, blurry, low quality",
        starter="{prompt} on a black background, 3d style",
        subject="planet",
        ratio=(16, 9),
    ),
)
STYLES: Mapping[str, Style] = {style.key: style for style in _STYLES}


def style_named(key: str) -> Style:
    """The style of a key. Raises ConfigError for an unknown one."""
    if key not in STYLES:
        raise ConfigError(
            f"There is no style called {key[:40]!r}.", f"There are: {', '.join(STYLES)}.", field="style"
        )
    return STYLES[key]


def apply_style(prompt: str, negative: str, style: str, *, base: str = "") -> tuple[str, str]:
    """Prompt and negative prompt in a style, for the base of this name; unchanged for an empty style. A style
    that the prompt already has is not added again. Raises ConfigError."""
    if not style:
        return prompt, negative
    found = style_named(style)
    on_starter = is_embedded(base)
    before, _, after = (found.starter if on_starter else found.prompt).partition(SLOT)
    styled = prompt.strip().strip(",").strip()
    if not (styled.startswith(before) and styled.endswith(after)):
        styled = f"{before}{styled}{after}" if styled else f"{before}{after}".strip(" ,")
    # The embedded base was trained without a word on what is unwanted.
    unwanted = "" if on_starter or found.negative in negative else found.negative
    parts = [part for part in (negative.strip().strip(",").strip(), unwanted) if part]
    return styled, ", ".join(parts) if unwanted else negative


def size_for(style: str, native: int, step: int = 8) -> tuple[int, int]:
    """Width and height in pixels of the style's shape with about the area that a base of size `native` is
    made for; multiples of `step`. Raises ConfigError."""
    across, down = style_named(style).ratio
    scale = math.sqrt(native * native / (across * down))
    width, height = (max(step, round(side * scale / step) * step) for side in (across, down))
    return width, height
