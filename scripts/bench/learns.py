"""Does a LoRA learn? python -m scripts.bench.learns [SET ...] [--base B] [--seeds 3] [--sheets F] [--json]

Each example set is trained with the app's own presets from several seeds. The judge of recipes/starter (two
small classifiers trained on real pictures) then looks at images of prompts that the set does not show, drawn
without and with the LoRA from the same noise. The margin between the two is stated with its spread over the
seeds; a margin within two standard deviations of zero fails, and so does a style in which the thing asked for
is lost. Also measured: the loss of the set with fixed noise, the same prompts without the trigger word, and
prompts for other things.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lora_studio.catalog import EMBEDDED, STARTER
from lora_studio.config import Kind
from lora_studio.images.contact_sheet import draw_sheet
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import CHECKOUT, Settings
from lora_studio.studio import Studio, open_studio
from lora_studio.training_request import StartTraining
from scripts.bench.parts.fixed_noise import fixed_noise_losses

if TYPE_CHECKING:
    from recipes.starter.judge import Judge

PATIENCE = 3600.0
SHEET_ROWS = 8
LEAST_KEPT = 0.5
"""Share of its recognisability that a thing must keep in a new style."""
THINGS = {
    "cat": "cat-face", "rocket": "rocket", "fish": "fish", "crown": "crown", "ghost": "ghost",
    "tree": "deciduous-tree", "key": "key", "bell": "bell", "strawberry": "strawberry",
    "butterfly": "butterfly", "turtle": "turtle", "umbrella": "umbrella",
}  # fmt: skip
"""Words to type, and the judge's name for the thing. None of them is in examples/ink."""
COLOURS = ("pink", "brown", "black", "white", "blue", "green", "red", "gray")
"""Behind a thing; its pictures do not show the first three."""
Images = list[Image.Image]


@dataclass(frozen=True)
class Round:
    """Prompts of one sort, and for each the thing (the judge's name) that it asks for."""

    name: str
    prompts: tuple[str, ...]
    things: tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """An example set: what it teaches, the class by which the judge knows it, what is asked afterwards."""

    folder: Path
    kind: Kind
    judged_as: str
    rounds: tuple[Round, ...]


@dataclass(frozen=True)
class Ground:
    """The embedded base that is trained on, and the things that it can be asked for; empty for all."""

    base: str
    things: frozenset[str] = frozenset()

    @classmethod
    def of(cls, base: str) -> Ground:
        from recipes.starter_flow.settings import CONCEPTS

        return cls(base) if base == STARTER.name else cls(base, frozenset(CONCEPTS))

    def asks(self, asked: Round, subject: Subject) -> Round:
        """The part of a round that is about the subject or things that the base knows."""
        if not self.things:
            return asked
        things = self.things | {subject.judged_as}
        pairs = [pair for pair in zip(asked.prompts, asked.things, strict=True) if pair[1] in things]
        return Round(asked.name, *zip(*pairs, strict=True))


def _on_colours(what: str) -> tuple[str, ...]:
    return tuple(f"a {what} on a {colour} background" for colour in COLOURS)


_THING_SLUGS = tuple(THINGS.values())


def _thing(folder: Path, judged_as: str, noun: str) -> Subject:
    """A thing that the base does not know, under a noun that it does not know either."""
    asked = (judged_as,) * len(COLOURS)
    return Subject(
        folder=folder,
        kind="object",
        judged_as=judged_as,
        rounds=(
            Round("trigger", _on_colours(f"zwx {noun}"), asked),
            Round("no trigger", _on_colours(noun), asked),
            Round("other things", tuple(THINGS), _THING_SLUGS),
        ),
    )


EXAMPLES, UNSEEN = CHECKOUT / "examples", CHECKOUT / "recipes" / "starter" / "unseen"
SUBJECTS = {
    "ink": Subject(
        folder=EXAMPLES / "ink",
        kind="style",
        judged_as="ink",
        rounds=(
            Round("trigger", tuple(f"{thing}, zwx style" for thing in THINGS), _THING_SLUGS),
            Round("no trigger", tuple(THINGS), _THING_SLUGS),
        ),
    ),
    "alien": _thing(EXAMPLES / "alien", "alien-monster", "creature"),
    "robot": _thing(UNSEEN / "robot", "robot", "toy"),
    "dragon": _thing(UNSEEN / "dragon", "dragon-face", "creature"),
    "teapot": _thing(UNSEEN / "teapot", "teapot", "pot"),
}


@dataclass(frozen=True)
class Measures:
    """The likeness of images to a set, each a mean over the images: `share` is the judge's probability of the
    set's class and `asked` that of the thing asked for (0 to 1), `distance` the classifier's features from
    the set's mean, `saturation` 0 to 1."""

    share: float
    asked: float
    distance: float
    saturation: float


DIGITS = {"share": 3, "asked": 3, "distance": 2, "saturation": 3}


class Yardstick:
    """Measures images against one example set."""

    def __init__(self, judge: Judge, subject: Subject, pictures: Images) -> None:
        style = subject.kind == "style"
        self._judge = judge
        self._probabilities = judge.style_probabilities if style else judge.concept_probabilities
        self._column = (judge.styles if style else judge.concepts).index(subject.judged_as)
        classifier: Any = judge.style_classifier if style else judge.concept_classifier
        self._network = classifier[:-1]  # all but the last layer
        self._middle = self._features(pictures).mean(0)

    def measure(self, images: Images, things: Sequence[str]) -> Measures:
        columns = [self._judge.concepts.index(thing) for thing in things]
        concepts = self._judge.concept_probabilities(images)
        return Measures(
            share=float(self._probabilities(images)[:, self._column].mean()),
            asked=float(concepts[np.arange(len(images)), columns].mean()),
            distance=float(np.linalg.norm(self._features(images) - self._middle, axis=1).mean()),
            saturation=statistics.fmean(saturation(image) for image in images),
        )

    def _features(self, images: Images) -> np.ndarray:
        """[images, 128]: what the classifier's last layer sees."""
        import torch

        from recipes.starter.judge import SIZE

        small = [image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS) for image in images]
        stacked = torch.from_numpy(np.stack([np.asarray(image) for image in small]))
        with torch.no_grad():
            return self._network(stacked.permute(0, 3, 1, 2) / 127.5 - 1).numpy()


def saturation(image: Image.Image) -> float:
    """Mean saturation (HSV), 0 to 1."""
    return float(np.asarray(image.convert("HSV"))[..., 1].mean() / 255)


def train(
    studio: Studio, subject: Subject, base: str, seed: int, overrides: Mapping[str, Any] | None = None
) -> str:
    """Train the set with the presets and this seed; the LoRA's slug."""
    name = subject.folder.name
    dataset = studio.datasets.create(name, sorted(subject.folder.iterdir()))
    job = studio.trainings.start(
        StartTraining(
            dataset_id=dataset.id,
            name=f"{name} {seed}",
            kind=subject.kind,
            trigger="zwx",
            base=base,
            overrides={"seed": seed, "sample_every_n_steps": 0, **(overrides or {})},
        )
    )
    record = studio.jobs.wait(job.id, timeout=PATIENCE)
    if record.status != "finished":
        raise SystemExit(f"The training of {name} ended as {record.status}: {record.message}")
    return Path(record.result_path).name


def draw(studio: Studio, prompts: Sequence[str], base: str, slug: str, seed: int) -> Images:
    """One image a prompt; image n has seed 1000 x seed + n with and without the LoRA."""
    uses = (LoraUse(slug=slug, weight=1.0),) if slug else ()
    images = []
    for number, prompt in enumerate(prompts):
        request = GenerateRequest(
            prompt=prompt, loras=uses, base=base, insert_trigger=False, seed=1000 * seed + number
        )
        with Image.open(studio.generate(request)[0].path) as image:
            images.append(image.convert("RGB"))
    return images


def examine(
    studio: Studio, subject: Subject, judge: Judge, ground: Ground, seeds: int
) -> tuple[dict[str, Any], Image.Image]:
    """All measures of one set and the sheet of its first seed."""
    paths, name = sorted(subject.folder.glob("*.png")), subject.folder.name
    pictures = [Image.open(path).convert("RGB") for path in paths]
    yardstick = Yardstick(judge, subject, pictures)
    runs: list[dict[str, Measures]] = []
    sheets, losses = [], []
    for seed in range(1, seeds + 1):
        slug = train(studio, subject, ground.base, seed)
        measured: dict[str, Measures] = {}
        cells: list[Image.Image] = []
        labels: list[str] = []
        for asked in (ground.asks(one, subject) for one in subject.rounds):
            sides = [draw(studio, asked.prompts, ground.base, used, seed) for used in ("", slug)]
            for side, images in zip(("base", "LoRA"), sides, strict=True):
                measured[f"{side}, {asked.name}"] = yardstick.measure(images, asked.things)
            labels += [f"{asked.name}: {prompt}" for prompt in asked.prompts[:SHEET_ROWS]]
            for row in itertools.islice(zip(itertools.cycle(pictures), *sides, strict=False), SHEET_ROWS):
                cells += row
        runs.append(measured)
        title = f"What the LoRA of the set {name} learned, seed {seed}"
        sheets.append(draw_sheet(cells, (("a training picture", "base", "LoRA"), labels, (title,))))
        print(f"{name}, seed {seed}: {measured}", file=sys.stderr, flush=True)
        if ground.base == STARTER.name:  # the others' pipelines take noise in other ways
            losses.append(fixed_noise_losses(studio.settings.starter, studio.settings.loras / slug, paths))
    ideal = yardstick.measure(pictures, (judge.concepts[0],) * len(pictures))
    found = summarise(runs)
    if losses:
        saved = _over_seeds([1 - after / base for base, after in losses])
        found["margins"]["fixed-noise loss saved, share"] = saved
    return {"set": {**vars(ideal), "asked": None}, **found}, sheets[0]


def summarise(runs: list[dict[str, Measures]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds, the margins, and what is wrong with them, if anything."""
    images = {
        name: {measure: _over_seeds([getattr(run[name], measure) for run in runs]) for measure in DIGITS}
        for name in runs[0]
    }
    margins = {
        "share gained": _over_seeds(
            [run["LoRA, trigger"].share - run["base, trigger"].share for run in runs]
        ),
        "distance saved": _over_seeds(
            [run["base, trigger"].distance - run["LoRA, trigger"].distance for run in runs]
        ),
        "share gained without the trigger": _over_seeds(
            [run["LoRA, no trigger"].share - run["base, no trigger"].share for run in runs]
        ),
    }
    faults = [
        f"{name}: {margins[name]['mean']:+.3f} is within twice its spread of {margins[name]['sd']:.3f}"
        for name in ("share gained", "distance saved")
        if margins[name]["mean"] <= 2 * margins[name]["sd"]
    ]
    shown, plain_score = (images[name]["asked"]["mean"] for name in ("LoRA, trigger", "base, no trigger"))
    if shown < LEAST_KEPT * plain_score:
        faults.append(f"the things asked for are lost: {shown:.3f} of {plain_score:.3f} recognised")
    return {"seeds": len(runs), "images": images, "margins": margins, "faults": faults}


def _over_seeds(values: list[float]) -> dict[str, float]:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": round(statistics.fmean(values), 4), "sd": round(spread, 4)}


def as_markdown(name: str, result: dict[str, Any]) -> str:
    """One table a set."""
    seeds = f"{result['seeds']} seeds, mean ± standard deviation" if result["seeds"] > 1 else "one seed"
    ideal = result["set"]
    lines = [
        f"### {name} ({seeds})",
        "",
        f"| images | `{SUBJECTS[name].judged_as}` | shows what was asked | distance | saturation |",
        "|---|---|---|---|---|",
        f"| the set itself | {ideal['share']:.3f} | | {ideal['distance']:.2f} | {ideal['saturation']:.3f} |",
    ]
    for kind, found in result["images"].items():
        cells = [
            f"{found[measure]['mean']:.{digits}f} ± {found[measure]['sd']:.{digits}f}"
            for measure, digits in DIGITS.items()
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines += [
        "",
        *(f"- {margin}: {v['mean']:+.3f} ± {v['sd']:.3f}" for margin, v in result["margins"].items()),
    ]
    lines += [f"- FAULT: {fault}" for fault in result["faults"]]
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SUBJECTS)} (default: all)")
    parser.add_argument("--base", choices=[base.name for base in EMBEDDED], default=STARTER.name)
    parser.add_argument("--seeds", type=int, default=3, help="trainings a set (default: 3)")
    parser.add_argument("--sheets", type=Path, help="folder for learns-<set>.png")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    names = arguments.sets or list(SUBJECTS)
    if unknown := set(names) - set(SUBJECTS):
        parser.error(f"no such set: {', '.join(sorted(unknown))}")
    from recipes.starter.judge import load_judge

    judge, results = load_judge(), {}
    with tempfile.TemporaryDirectory() as folder:
        studio = open_studio(Settings(home=Path(folder) / "home", models=Path(folder) / "models"))
        try:
            for name in names:
                results[name], sheet = examine(
                    studio, SUBJECTS[name], judge, Ground.of(arguments.base), arguments.seeds
                )
                if arguments.sheets:
                    arguments.sheets.mkdir(parents=True, exist_ok=True)
                    suffix = "" if arguments.base == STARTER.name else f"-{arguments.base}"
                    file = arguments.sheets / f"learns-{name}{suffix}.png"
                    sheet.quantize(256).save(file, optimize=True)
        finally:
            studio.close()
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        print("\n".join(as_markdown(name, result) for name, result in results.items()))
    return 1 if any(result["faults"] for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
