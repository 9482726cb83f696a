"""What the text-to-image part is trained on: encoded pictures, drawn more often where the model is worse."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from diffusers import AutoencoderKL

from recipes.starter import autoencoder, captions, data, recolour, settings
from recipes.starter.captions import Shown

WHITE = (1.0, 1.0, 1.0)
# Of all draws: the picture as it is on white, on a named colour, with another main colour.
SHARES = (0.5, 0.25, 0.25)


@dataclass(frozen=True)
class Choice:
    """Which concepts in which styles, and how many variants of each of their pictures."""

    concepts: Iterable[str]
    styles: Iterable[str] = settings.STYLES
    backgrounds: int = 6
    colours: int = 0


@dataclass
class Pool:
    """Encoded pictures: ``mean`` and ``std`` [N, 4, h, w], what they show, which picture each is made from.

    ``losses`` [pictures] follows how badly each picture is drawn; ``kinds`` [N] is 0 plain, 1 on a colour,
    2 painted.
    """

    mean: torch.Tensor
    std: torch.Tensor
    shown: list[Shown]
    picture: torch.Tensor
    kinds: torch.Tensor
    losses: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.losses = torch.full((int(self.picture.max()) + 1,), 0.3)

    def draw(self, count: int) -> torch.Tensor:
        """Rows of a batch [count]: the kind by its share, the picture by its loss, but none of them never."""
        weight = self.losses / self.losses.mean() + 0.2
        chances = torch.zeros(len(self.shown))
        for kind, share in enumerate(SHARES):
            rows = self.kinds == kind
            if rows.any():
                own = weight[self.picture[rows]]
                chances[rows] = share * own / own.sum()
        return torch.multinomial(chances, count, replacement=True)

    def learn(self, rows: torch.Tensor, losses: torch.Tensor) -> None:
        """Follow the pictures' losses [count], each over about twenty draws."""
        for picture, loss in zip(self.picture[rows].tolist(), losses.tolist(), strict=True):
            self.losses[picture] += 0.05 * (loss - float(self.losses[picture]))

    def latents(self, rows: torch.Tensor) -> torch.Tensor:
        """Samples of the encoded pictures [count, 4, h, w]."""
        rows = rows.to(self.mean.device)
        return self.mean[rows] + self.std[rows] * torch.randn_like(self.mean[rows])


@dataclass(frozen=True)
class Variant:
    """A picture before it is encoded."""

    rgba: np.ndarray
    shown: Shown
    picture: int
    kind: int


def build(vae: AutoencoderKL, size: int, choice: Choice) -> Pool:
    """Every chosen concept in every style: on white, on some named colours, in some other paints."""
    chooser = random.Random(0)
    chosen = _chosen(data.load(size), choice)
    variants = [
        variant
        for number, (slug, style, rgba) in enumerate(chosen)
        for variant in _variants(rgba, Shown(slug, style), number, choice, chooser)
    ]
    colours = [settings.COLOURS[v.shown.background] if v.shown.background else WHITE for v in variants]
    mean, std = _encode(vae, np.stack([variant.rgba for variant in variants]), torch.tensor(colours))
    print(f"{len(chosen)} pictures, {len(variants)} with variants, deviation {mean.std():.3f}", flush=True)
    return Pool(
        mean,
        std,
        [variant.shown for variant in variants],
        torch.tensor([variant.picture for variant in variants]),
        torch.tensor([variant.kind for variant in variants]),
    )


def _variants(
    rgba: np.ndarray, plain: Shown, number: int, choice: Choice, chooser: random.Random
) -> Iterator[Variant]:
    yield Variant(rgba, plain, number, 0)
    for background in chooser.sample(sorted(settings.COLOURS), choice.backgrounds):
        yield Variant(rgba, replace(plain, background=background), number, 1)
    hue = recolour.main_hue(rgba) if captions.bare_name(plain.slug) else None
    if hue is None:
        return
    for colour in chooser.sample(sorted(recolour.PAINT), choice.colours):
        others = [None, None, *(name for name in sorted(settings.COLOURS) if name != colour)]
        painted = replace(plain, background=chooser.choice(others), colour=colour)
        yield Variant(recolour.recolour(rgba, hue, colour), painted, number, 2)


def _chosen(pictures: data.Pictures, choice: Choice) -> list[tuple[str, str, np.ndarray]]:
    rows = [(slug, style, pictures.index(slug, style)) for slug in choice.concepts for style in choice.styles]
    return [(slug, style, pictures.rgba[row]) for slug, style, row in rows if row is not None]


def _encode(vae: AutoencoderKL, rgba: np.ndarray, colours: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """In parts, so that the pictures of a large pool are never all in memory as floats."""
    parts = [
        autoencoder.encode(vae, data.on_background(rgba[start : start + 512], colours[start : start + 512]))
        for start in range(0, len(rgba), 512)
    ]
    return torch.cat([mean for mean, _ in parts]), torch.cat([std for _, std in parts])
