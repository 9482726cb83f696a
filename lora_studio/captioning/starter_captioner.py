"""Captions of pictures of the embedded base's world: 171 things and four more, styles, plain backgrounds.

Two small classifiers tell thing and style. They were trained on the pictures that the base was trained on
(`recipes/starter`), and know nothing else: a photograph gets no caption, or a wrong one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from lora_studio.captioning.captioner import Captioner

SIZE = 64
SURE_OF_THING, SURE_OF_STYLE = 0.5, 0.6
"""Probabilities from which on they are said."""
EDGE, EVENNESS, NEAR = 3, 0.06, 0.2
"""Pixels of the background's corners, its largest spread and distance to a named colour (units of 0..1)."""


def make_classifier(classes: int) -> nn.Sequential:
    """Four strided convolutions and a linear layer; [N, 3, 64, 64] in -1..1 to [N, classes]."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 96), (96, 128)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, classes)
    )


class StarterCaptioner(Captioner):
    """The captioner of the folder with the classifiers. Raises OSError, KeyError."""

    batch = 32

    def __init__(self, folder: Path) -> None:
        facts = json.loads((folder / "classes.json").read_text("utf-8"))
        weights = load_file(folder / "judge.safetensors")
        self._names: Mapping[str, str] = facts["names"]
        self._colours: Mapping[str, Sequence[float]] = facts["colours"]
        self._classes: dict[str, list[str]] = {kind: facts[kind] for kind in ("concepts", "styles")}
        self._classifiers = {
            kind: _loaded(len(names), weights, kind) for kind, names in self._classes.items()
        }

    def captions(self, images: Sequence[Image.Image]) -> list[str]:
        small = [image.resize((SIZE, SIZE), Image.Resampling.LANCZOS) for image in images]
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in small])).permute(0, 3, 1, 2)
        things, styles = (self._told(kind, pixels) for kind in ("concepts", "styles"))
        return [
            self._caption(thing, style, image)
            for thing, style, image in zip(things, styles, small, strict=True)
        ]

    @torch.no_grad()
    def _told(self, kind: str, pixels: torch.Tensor) -> list[tuple[str, float]]:
        """The likeliest class of each of pixels [N, 3, S, S], with its probability."""
        chances, places = self._classifiers[kind](pixels / 127.5 - 1).softmax(1).max(1)
        return [
            (self._classes[kind][place], chance)
            for place, chance in zip(places.tolist(), chances.tolist(), strict=True)
        ]

    def _caption(self, thing: tuple[str, float], style: tuple[str, float], image: Image.Image) -> str:
        if thing[1] < SURE_OF_THING:
            return ""
        colour = self._background(image)
        place = f" on a{'n' if colour[0] in 'aeiou' else ''} {colour} background" if colour else ""
        manner = f", {style[0]} style" if style[1] >= SURE_OF_STYLE and style[0] in self._styles else ""
        return f"{self._names[thing[0]]}{place}{manner}"

    @property
    def _styles(self) -> list[str]:
        """The styles that the base draws in, without the one of the example set."""
        return self._classes["styles"][:4]

    def _background(self, image: Image.Image) -> str:
        """The colour of an even background; empty for white, which goes without saying, and for others."""
        pixels = np.asarray(image, dtype=np.float32) / 255
        ends = (slice(None, EDGE), slice(-EDGE, None))
        edge = np.concatenate([pixels[rows, columns].reshape(-1, 3) for rows in ends for columns in ends])
        colour = np.median(edge, axis=0)
        if np.abs(edge - colour).mean() > EVENNESS or colour.min() > 0.93:
            return ""
        far = {name: float(np.linalg.norm(colour - np.array(shade))) for name, shade in self._colours.items()}
        nearest = min(far, key=lambda name: far[name])
        return nearest if far[nearest] <= NEAR else ""


def _loaded(classes: int, weights: Mapping[str, torch.Tensor], kind: str) -> nn.Sequential:
    classifier = make_classifier(classes)
    classifier.load_state_dict({key: weights[f"{kind}.{key}"] for key in classifier.state_dict()})
    return classifier.float().eval()
