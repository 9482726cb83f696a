"""Numbers that the embedded base must reach before it ships."""

import colorsys
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image

from recipes.starter import autoencoder, recolour, report, settings
from recipes.starter.judge import Judge, load_judge

BACKGROUND_CONCEPTS = ("banana", "cat", "rocket", "crown")
PAINTED_THINGS = ("apple", "car", "cat", "umbrella", "balloon", "mushroom", "tulip", "shirt")
# Hue in turns (0 red, 1/3 green, 2/3 blue) that a person would call by the name.
HUES = {
    "red": (0.92, 1.045), "orange": (1.03, 1.125), "yellow": (1.095, 1.20), "green": (0.22, 0.47),
    "blue": (0.53, 0.69), "purple": (0.69, 0.87),
}  # fmt: skip


@dataclass(frozen=True)
class Gate:
    """A measured figure and the bound it has to keep."""

    name: str
    value: float
    bound: float
    at_most: bool = False

    @property
    def passed(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def pixels(image: Image.Image) -> np.ndarray:
    """[height, width, 3] in 0..1."""
    return np.asarray(image.convert("RGB"), dtype=np.float32) / 255


def border(image: Image.Image, width: int = 3) -> np.ndarray:
    """Median colour of the picture's rim; [3]."""
    values = pixels(image)
    rim = [values[:width], values[-width:], values[:, :width], values[:, -width:]]
    return np.median(np.concatenate([part.reshape(-1, 3) for part in rim]), axis=0)


def nearest_colour(colour: np.ndarray) -> str:
    """Name of the background colour (or white) that is closest."""
    named = {"white": (1.0, 1.0, 1.0)} | settings.COLOURS
    return min(named, key=lambda name: float(np.square(colour - np.array(named[name])).sum()))


def background_rate(pipeline: report.Drawing) -> float:
    """Share of prompts "X on a C background" whose rim is nearest to C."""
    asked = [(name, colour) for colour in settings.COLOURS for name in BACKGROUND_CONCEPTS]
    prompts = [f"{name} on a {colour} background" for name, colour in asked]
    drawn = report.draw(pipeline, prompts, seed=500)
    obeyed = [nearest_colour(border(image)) == asked[n][1] for n, image in enumerate(drawn)]
    return float(np.mean(obeyed))


def heart_is(colour: str, image: Image.Image) -> bool:
    """Whether the middle of the picture has the hue that the colour's name promises."""
    middle = pixels(image)[image.height // 3 : image.height // 2, image.width // 3 : 2 * image.width // 3]
    red, green, blue = np.median(middle.reshape(-1, 3), axis=0).tolist()
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    if colour == "black":
        return value < 0.4 and max(red, green, blue) - min(red, green, blue) < 0.15
    low, high = HUES[colour]
    return saturation > 0.3 and (low <= hue <= high or low <= hue + 1 <= high)


def heart_rate(
    pipeline: report.Drawing, colours: Sequence[str], styles: Sequence[str] = settings.STYLES
) -> float:
    """Share of right hues over colours in every style."""
    asked = [(colour, style) for colour in colours for style in styles]
    drawn = report.draw(pipeline, [f"{colour} heart, {style} style" for colour, style in asked], seed=700)
    return float(np.mean([heart_is(asked[n][0], image) for n, image in enumerate(drawn)]))


def painted_rate(pipeline: report.Drawing) -> float:
    """Share of prompts "C X" (a thing in a colour that is not its own) whose main colour is C."""
    asked = [(name, colour) for name in PAINTED_THINGS for colour in HUES]
    drawn = report.draw(pipeline, [f"{colour} {name}" for name, colour in asked], seed=1100)
    return float(np.mean([is_painted(asked[n][1], image) for n, image in enumerate(drawn)]))


def is_painted(colour: str, image: Image.Image) -> bool:
    """Whether the colour that covers most of the thing on white would be called by the name."""
    values = np.asarray(image.convert("RGB"))
    seen = np.where(values.min(axis=-1) < 225, 255, 0).astype(np.uint8)
    hue = recolour.main_hue(np.dstack([values, seen]))
    low, high = HUES[colour]
    return hue is not None and (low <= hue <= high or low <= hue + 1 <= high)


def judged(
    pipeline: report.Drawing, judge: Judge, concepts: Iterable[str], styles: Sequence[str] = settings.STYLES
) -> dict[str, float]:
    """Concept in the judge's first and first five guesses, style in its first, over all concepts x styles."""
    asked = [(slug, style) for slug in concepts for style in styles]
    prompts = [f"{settings.CONCEPTS[slug][0]}, {style} style" for slug, style in asked]
    drawn = report.draw(pipeline, prompts, seed=900)
    ranked = np.argsort(-judge.concept_probabilities(drawn), axis=1)
    guessed = judge.style_probabilities(drawn).argmax(1)
    right = np.array([judge.concepts.index(slug) for slug, _ in asked])
    named = np.array([judge.styles.index(style) for _, style in asked])
    found = ranked[:, :5] == right[:, None]
    worst = [slug for (slug, _), hit in zip(asked, found.any(1), strict=True) if not hit]
    print("not in the first five:", ", ".join(sorted(set(worst))) or "none", flush=True)
    return {
        "concept_top1": float(found[:, 0].mean()),
        "concept_top5": float(found.any(1).mean()),
        "style": float((guessed == named).mean()),
    }


def unknown_word_rate(pipeline: report.Drawing, judge: Judge, concepts: Sequence[str]) -> float:
    """Share of "X, zwx style" that is still an X to the judge (first five guesses): a trigger word that the
    base does not know must not cost the rest of the prompt."""
    prompts = [f"{settings.CONCEPTS[slug][0]}, zwx style" for slug in concepts]
    drawn = report.draw(pipeline, prompts, seed=1300)
    ranked = np.argsort(-judge.concept_probabilities(drawn), axis=1)[:, :5]
    right = np.array([judge.concepts.index(slug) for slug in concepts])
    return float((ranked == right[:, None]).any(1).mean())


def seconds_per_image(pipeline: report.Drawing, threads: int) -> float:
    """One image, 20 steps with guidance; the best of three."""
    before, times = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    for _ in range(3):
        started = time.perf_counter()
        report.draw(pipeline, ["red apple"])
        times.append(time.perf_counter() - started)
    torch.set_num_threads(before)
    return min(times)


def build() -> int:
    """Measure, print, write ``gates.json`` beside the model; the number of failed gates."""
    pipeline = StableDiffusionPipeline.from_pretrained(settings.MODEL)
    judge = load_judge()
    scores = judged(pipeline, judge, settings.CONCEPTS)
    gates = [
        Gate("background colour obeyed", background_rate(pipeline), 0.9),
        Gate("heart hue right", heart_rate(pipeline, settings.HEARTS), 0.9),
        Gate("colour word obeyed on a thing", painted_rate(pipeline), 0.8),
        Gate("concept first guess", scores["concept_top1"], 0.7),
        Gate("concept in first five", scores["concept_top5"], 0.9),
        Gate("style first guess", scores["style"], 0.75),
        Gate("concept in first five beside an unknown word",
             unknown_word_rate(pipeline, judge, tuple(settings.CONCEPTS)), 0.8),
        Gate("autoencoder PSNR on unseen pictures, dB",
             autoencoder.unseen_psnr(AutoencoderKL.from_pretrained(settings.MODEL / "vae"), 64), 30.0),
        Gate("seconds per image, one thread", seconds_per_image(pipeline, threads=1), 3.0, at_most=True),
        Gate("seconds per image, two threads", seconds_per_image(pipeline, threads=2), 1.5, at_most=True),
    ]  # fmt: skip
    return keep(gates, settings.MODEL)


def keep(gates: list[Gate], folder: Path) -> int:
    """Print the gates and write them into a model's folder; the number of failed ones."""
    for gate in gates:
        sign = "<=" if gate.at_most else ">="
        print(
            f"{'pass' if gate.passed else 'FAIL'}  {gate.name}: {gate.value:.3f} ({sign} {gate.bound})",
            flush=True,
        )
    written = [
        {"name": gate.name, "value": round(gate.value, 4), "bound": gate.bound, "passed": gate.passed}
        for gate in gates
    ]  # fmt: skip
    (folder / "gates.json").write_text(json.dumps(written, indent=2) + "\n", "utf-8")
    return sum(not gate.passed for gate in gates)
