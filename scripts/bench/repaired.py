"""Measure what a spoiled set costs, and what mending gives back: python -m scripts.bench.repaired [SET ...]

An example set is spoiled as sets of real people are: a third are thumbnails that were enlarged, two lie on
their side, two have bars above and below, two captions lack the trigger word, and one picture is there five
times, under captions of others. Which is which follows from the seed. `lora-studio dataset fix` mends a copy,
and a second call mends it further: it leaves out what the checks advise to leave out. A LoRA is trained on
the clean set, the spoiled and the mended ones, with the same presets, steps and seed, and the judge of
recipes/starter says how much of the set is to be seen in what it draws, as in scripts/bench/learns.py.

`--keep FOLDER` keeps what each seed gave, so that more seeds can be added later. `--tiny` shows that it
works: two steps, two prompts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lora_studio.catalog import STARTER
from lora_studio.data.training_set.export_folder import copy_as_edited
from lora_studio.images.contact_sheet import draw_sheet
from lora_studio.settings import CHECKOUT, Settings
from lora_studio.studio import Studio, open_studio
from recipes.starter.settings import COLOURS
from scripts.bench.learns import SUBJECTS, Subject, Yardstick, draw, train

if TYPE_CHECKING:
    from recipes.starter.judge import Judge

TRIGGER = "zwx"
CLEAN, SPOILED, MENDED, FURTHER = "clean", "spoiled", "mended", "mended further"
STATES = (CLEAN, SPOILED, MENDED, FURTHER)
ADVISED = ("blurred", "too_small", "near_copy")
"""Checks whose advice is to leave pictures out, which `fix` does only when asked."""
THUMBNAIL, ENLARGED = 20, 128
"""Pixels of a thumbnail, and of what was made of it; the training takes 64."""
BARS, COPIES = 0.3, 4
"""Height of a bar as a share of the picture's, and copies of one picture."""
SHOWN = 6
OTHER_COLOUR = 40
"""Levels from which on a pixel is none of the ground."""
TINY = {"max_train_steps": 2}
Images = list[Image.Image]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome for a set in one state: what the check says of it, and the judge of the LoRA's pictures.
    `share` is the judge's probability of the set's class and `asked` that of the thing asked for, `distance`
    the way from the clean set's mean in its features, `backgrounds` the share of images on a ground of the
    colour that the prompt names (None where it names none), `outline` the share of its outline that the thing
    has in common with one of the clean set (None for a style)."""

    grade: str
    points: int
    pictures: int
    share: float
    asked: float
    distance: float
    backgrounds: float | None
    outline: float | None = None


def spoil(source: Path, folder: Path, seed: int) -> dict[str, str]:
    """Write a spoiled copy of a set. Returns what was done to each file, by its name."""
    folder.mkdir(parents=True)
    paths = sorted(source.glob("*.png"))
    random.Random(seed).shuffle(paths)
    captions = [path.with_suffix(".txt").read_text("utf-8").strip() for path in paths]
    third = len(paths) // 3
    done = {}
    for place, (path, caption) in enumerate(zip(paths, captions, strict=True)):
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        fault = ""
        if place < third:
            picture, fault = _enlarged_thumbnail(picture), "an enlarged thumbnail"
        elif place < third + 2:
            picture, fault = picture.transpose(Image.Transpose.ROTATE_90), "on its side"
        elif place < third + 4:
            picture, fault = _with_bars(picture), "with bars"
        elif place < third + 6:
            caption, fault = " ".join(caption.replace(TRIGGER, "").split()), "without the trigger word"
        picture.save(folder / path.name)
        (folder / path.name).with_suffix(".txt").write_text(caption, "utf-8")
        done[path.name] = fault
    for number in range(COPIES):
        name = f"copy-{number}.{'png' if number % 2 else 'jpg'}"
        picture = Image.open(folder / paths[-1].name)
        picture.save(folder / name, quality=60)
        (folder / name).with_suffix(".txt").write_text(captions[number], "utf-8")
        done[name] = "the same picture again under another caption"
    return done


def _enlarged_thumbnail(picture: Image.Image) -> Image.Image:
    small = picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return small.resize((ENLARGED, ENLARGED), Image.Resampling.BICUBIC)


def _with_bars(picture: Image.Image) -> Image.Image:
    bar = round(BARS * picture.height)
    sheet = Image.new("RGB", (picture.width, picture.height + 2 * bar), "black")
    sheet.paste(picture, (0, bar))
    return sheet


def lay_out(source: Path, place: Path, seed: int, kind: str) -> dict[str, Path]:
    """The folder of the set in each state, as it is trained on, below `place`."""
    folders = {state: place / f"{source.name} {state}" for state in STATES}
    shutil.copytree(source, folders[CLEAN], ignore=shutil.ignore_patterns("*.md"))
    spoil(source, folders[SPOILED], seed)
    worked_on = place / "worked on"
    shutil.copytree(folders[SPOILED], worked_on)
    studio_command("fix", worked_on, kind)
    copy_as_edited(worked_on, folders[MENDED])
    studio_command("fix", worked_on, kind, "--only", *ADVISED)
    copy_as_edited(worked_on, folders[FURTHER])
    return folders


def studio_command(action: str, folder: Path, kind: str, *options: str) -> str:
    """The output of `lora-studio dataset ACTION` for the folder."""
    command = [sys.executable, "-m", "lora_studio", "dataset", action, str(folder)]
    environment = {**os.environ, "LORA_STUDIO_HOME": str(folder.parent / "home")}
    run = subprocess.run(
        [*command, "--trigger", TRIGGER, "--kind", kind, *options],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout


def examine(
    studio: Studio, subject: Subject, judge: Judge, seed: int, *, tiny: bool = False
) -> tuple[dict[str, Outcome], Image.Image]:
    """The outcomes for the set in each state, and a sheet of pictures and images."""
    asked = subject.rounds[0]
    prompts, things = (each[:2] if tiny else each for each in (asked.prompts, asked.things))
    clean = opened(subject.folder)
    yardstick = Yardstick(judge, subject, clean)
    outcomes, cells, titles = {}, [], []
    with tempfile.TemporaryDirectory() as name:
        folders = lay_out(subject.folder, Path(name), seed, subject.kind)
        for state, folder in folders.items():
            report = json.loads(studio_command("check", folder, subject.kind, "--json", "-"))
            slug = train(studio, replace(subject, folder=folder), STARTER.name, seed, TINY if tiny else None)
            images = draw(studio, prompts, STARTER.name, slug, seed)
            measures = yardstick.measure(images, things)
            outcomes[state] = Outcome(
                grade=report["grade"],
                points=report["points"],
                pictures=report["pictures"],
                share=measures.share,
                asked=measures.asked,
                distance=measures.distance,
                backgrounds=backgrounds_as_asked(images, prompts),
                outline=None if subject.kind == "style" else outline_in_common(images, clean),
            )
            print(
                f"{subject.folder.name}, seed {seed}, {state}: {outcomes[state]}", file=sys.stderr, flush=True
            )
            cells += [*_some(opened(folder)), *_some(images)]
            titles.append(f"{state}: grade {report['grade']}, judged {measures.share:.2f}")
    rows = ("pictures of the set", "drawn with the LoRA")
    return outcomes, draw_sheet(cells, ([""] * SHOWN, rows, titles))


def opened(folder: Path) -> Images:
    """The pictures of a folder by name."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in {".png", ".jpg"})
    return [Image.open(path).convert("RGB") for path in paths]


def _some(images: Images) -> list[Image.Image | None]:
    """Images for a row, evenly chosen."""
    places = np.linspace(0, len(images) - 1, min(SHOWN, len(images))).round().astype(int)
    chosen: list[Image.Image | None] = [images[place].resize((128, 128)) for place in places]
    return chosen + [None] * (SHOWN - len(chosen))


def backgrounds_as_asked(images: Images, prompts: Sequence[str]) -> float | None:
    """The share of images whose frame is nearest to the colour named in the prompt; None where none is."""
    palette = {**COLOURS, "white": (1.0, 1.0, 1.0)}
    right = []
    for image, prompt in zip(images, prompts, strict=True):
        if " background" in prompt:
            frame = np.asarray(image.convert("RGB").resize((16, 16), Image.Resampling.BOX)) / 255
            sides = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
            middle = np.median(sides, axis=0)
            nearest = min(palette, key=lambda name: float(np.linalg.norm(middle - palette[name])))
            right.append(nearest == prompt.split()[-2])
    return statistics.fmean(right) if right else None


def outline_in_common(images: Images, pictures: Images) -> float:
    """The mean over the images of intersection over union of the thing's pixels and those in the picture that
    is nearest. A judge that was made to pass over blur and shifts says less of the shape."""
    wanted = [_thing(picture) for picture in pictures]
    best = [
        max((thing & one).sum() / max(1, (thing | one).sum()) for one in wanted)
        for thing in map(_thing, images)
    ]
    return statistics.fmean(map(float, best))


def _thing(image: Image.Image) -> np.ndarray:
    """The places, [64, 64], that are not of the frame's colour."""
    levels = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BOX)).astype(int)
    frame = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    return np.abs(levels - np.median(frame, axis=0)).max(axis=2) > OTHER_COLOUR


def as_markdown(name: str, runs: Mapping[int, Mapping[str, Outcome]]) -> str:
    """The table of a set, the values of its seeds beside each other."""
    judged = SUBJECTS[name].judged_as
    lines = [
        f"### {name}, seeds {', '.join(map(str, runs))}",
        "",
        f"| set | pictures | grade | `{judged}` | mean | the thing asked | distance | background | outline |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for state in STATES:
        outcomes = [run[state] for run in runs.values()]
        shares = [one.share for one in outcomes]
        grounds = [one.backgrounds for one in outcomes if one.backgrounds is not None]
        outlines = [one.outline for one in outcomes if one.outline is not None]
        cells = (
            state,
            _distinct(str(one.pictures) for one in outcomes),
            _distinct(f"{one.grade} ({one.points})" for one in outcomes),
            ", ".join(f"{share:.3f}" for share in shares),
            f"{statistics.fmean(shares):.3f}",
            f"{statistics.fmean(one.asked for one in outcomes):.3f}",
            f"{statistics.fmean(one.distance for one in outcomes):.2f}",
            f"{statistics.fmean(grounds):.0%}" if grounds else "",
            ", ".join(f"{outline:.2f}" for outline in outlines),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _distinct(texts: Any) -> str:
    return ", ".join(dict.fromkeys(texts))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench.repaired",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SUBJECTS)} (default: alien)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="N")
    parser.add_argument("--keep", type=Path, help="folder for figures and sheets (default: none)")
    parser.add_argument("--tiny", action="store_true", help="two steps and two prompts")
    given = parser.parse_args(arguments)
    names = given.sets or ["alien"]
    if unknown := set(names) - set(SUBJECTS):
        parser.error(f"no such set: {', '.join(sorted(unknown))}")
    from recipes.starter.judge import load_judge

    judge = load_judge()
    with tempfile.TemporaryDirectory() as place:
        keep = given.keep or Path(place) / "kept"
        keep.mkdir(parents=True, exist_ok=True)
        studio = open_studio(Settings(home=Path(place) / "home", models=Path(place) / "models"))
        try:
            for name in names:
                runs = {}
                for seed in given.seeds:
                    file = keep / f"repaired-{name}-{seed}.json"
                    if not file.exists():
                        outcomes, sheet = examine(studio, SUBJECTS[name], judge, seed, tiny=given.tiny)
                        sheet.save(file.with_suffix(".webp"), "WEBP", quality=85, method=6)
                        kept = {state: asdict(outcome) for state, outcome in outcomes.items()}
                        file.write_text(json.dumps(kept, indent=1), "utf-8")
                    read = json.loads(file.read_text("utf-8"))
                    runs[seed] = {state: Outcome(**values) for state, values in read.items()}
                print(as_markdown(name, runs))
        finally:
            studio.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
