"""Draw the effects atlas: what each setting does, as strips of pictures with the same seed.

    python -m scripts.make_atlas [--base starter-flow] [--only network_dim ...] [--out docs] [--tiny]

Writes atlas-<base>.md into the folder, with the time and the loss of each training beside its strip, and the
strips into img/atlas below it. A run trains some twenty LoRAs: a quarter of an hour on two quiet cores with
the starter, estimated from 0.2 s a step, and longer with starter-flow. `--tiny` shows that it works, in a
minute: a few steps, two values of each setting.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from lora_studio.catalog import BASES, EMBEDDED, STARTER
from lora_studio.images.contact_sheet import draw_sheet
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import CHECKOUT, Settings
from lora_studio.studio import Studio, open_studio
from lora_studio.training_request import StartTraining

PICTURES, KIND, TRIGGER = CHECKOUT / "examples" / "ink", "style", "zwx"
PROMPTS = (f"rocket, {TRIGGER} style", f"crown, {TRIGGER} style")
"""Two things that none of the pictures shows, and that both embedded bases know."""
SEED, PATIENCE = 7, 3600.0
QUIET = {"seed": 42, "sample_every_n_steps": 0, "checkpoint_board": False, "result_pictures": 0}
"""Settings of every training: nothing is drawn on the way."""
TINY_STEPS = 2
IMAGES, TRIGGERED = "pictures", "trigger word"
"""Strips that are about no setting: the number of pictures, and the word in the prompt."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Values of a setting of trainings or, with `drawing`, of one of drawing; `about` is what to look for.
    None is the base's own value."""

    setting: str
    values: tuple[Any, ...]
    about: str
    drawing: bool = False

    def label(self, value: Any) -> str:
        return f"{self.setting} {'as it comes' if value is None else value}"


STRIPS = (
    Strip(setting="network_dim", values=(1, None, 32), about="How much the LoRA can hold."),
    Strip(setting="network_alpha", values=(1, None, 32), about="Strength: small values learn slower."),
    Strip(setting="learning_rate", values=(1e-4, None, 1e-2), about="Too little, right, burnt."),
    Strip(setting="max_train_steps", values=(25, 100, None, 400), about="From the base to your pictures."),
    Strip(setting="lr_scheduler", values=("constant", "linear", None), about="How the rate falls."),
    Strip(
        setting="network_train_unet_only", values=(None, False), about="The text encoder, left or trained."
    ),
    Strip(setting="caption_dropout_rate", values=(None, 0.1, 0.5), about="Steps without a caption."),
    Strip(setting="min_snr_gamma", values=(None, 5.0, 1.0), about="Weight of little noise."),
    Strip(setting=IMAGES, values=(1, 3, None), about="How many it learned from."),
    Strip(setting=TRIGGERED, values=("with", "without"), about="The word in the prompt.", drawing=True),
    Strip(setting="weight", values=(0.0, 0.4, 0.7, 1.0, 1.5), about="The LoRA's weight.", drawing=True),
    Strip(setting="guidance_scale", values=(1.0, 3.0, 7.0, 12.0), about="Harsher with more.", drawing=True),
    Strip(setting="num_inference_steps", values=(2, 6, 12, 25), about="Unfinished with few.", drawing=True),
    Strip(setting="sampler", values=(None, "Euler", "Heun", "UniPC"), about="Ways from noise.", drawing=True),
)
OF_DDPM = {"min_snr_gamma"}
"""Settings without a meaning for flow models."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A LoRA of the atlas and what it took."""

    slug: str
    steps: int
    seconds: float
    loss: float | None


@dataclass(kw_only=True)
class Atlas:
    """One base's strips. A training that several strips share is made once."""

    studio: Studio
    base: str
    tiny: bool = False
    trained: dict[tuple[tuple[str, Any], ...], Trained] = field(default_factory=dict)

    def strips(self, only: Iterable[str] = ()) -> list[Strip]:
        """Strips that have a meaning for the base; two values of each in a tiny atlas."""
        wanted = set(only)
        chosen = [
            strip
            for strip in STRIPS
            if (strip.setting in wanted or not wanted)
            and not (BASES[self.base].flow_matching and strip.setting in OF_DDPM)
        ]
        return [replace(strip, values=strip.values[:2]) for strip in chosen] if self.tiny else chosen

    def train(self, changes: Mapping[str, Any]) -> Trained:
        """The LoRA that the settings give. Exits where a training ends otherwise than finished."""
        key = tuple(sorted(changes.items()))
        if key not in self.trained:
            self.trained[key] = self._trained(dict(changes))
        return self.trained[key]

    def _trained(self, changes: dict[str, Any]) -> Trained:
        count = changes.pop(IMAGES, None)
        files = sorted(path for path in PICTURES.iterdir() if path.suffix != ".md")
        stems = sorted({path.stem for path in files})[:count]
        dataset = self.studio.datasets.create("ink", [path for path in files if path.stem in stems])
        overrides = {**QUIET, **changes}
        if self.tiny:
            overrides["max_train_steps"] = TINY_STEPS
        started = time.monotonic()
        job = self.studio.trainings.start(
            StartTraining(
                dataset_id=dataset.id,
                name=f"atlas {len(self.trained)}",
                kind=KIND,
                trigger=TRIGGER,
                base=self.base,
                overrides=overrides,
            )
        )
        record = self.studio.jobs.wait(job.id, timeout=PATIENCE)
        if record.status != "finished":
            raise SystemExit(f"The training with {changes} ended as {record.status}: {record.message}")
        return Trained(
            slug=Path(record.result_path).name,
            steps=record.step,
            seconds=time.monotonic() - started,
            loss=record.loss,
        )

    def draw(self, strip: Strip, value: Any) -> tuple[list[Image.Image], Trained]:
        """The pictures of one value, and the LoRA that they were drawn with."""
        changes = {} if strip.drawing or value is None else {strip.setting: value}
        lora = self.train(changes)
        return [self._picture(prompt, lora.slug, strip, value) for prompt in PROMPTS], lora

    def _picture(self, prompt: str, slug: str, strip: Strip, value: Any) -> Image.Image:
        weight = 1.0
        asked: dict[str, Any] = {}
        if strip.setting == "weight":
            weight = value
        elif strip.setting == TRIGGERED:
            prompt = prompt if value == "with" else prompt.partition(",")[0]
        elif strip.drawing:
            asked = {strip.setting: value}
        request = GenerateRequest(
            prompt=prompt,
            base=self.base,
            loras=(LoraUse(slug=slug, weight=weight),),
            insert_trigger=False,
            seed=SEED,
            **asked,
        )
        with Image.open(self.studio.generate(request)[0].path) as picture:
            return picture.convert("RGB")


def write_strip(atlas: Atlas, strip: Strip, folder: Path) -> list[str]:
    """Draw a strip into the folder's img/atlas. Returns its lines of Markdown."""
    columns = [atlas.draw(strip, value) for value in strip.values]
    pictures = [pair[row] for row in range(len(PROMPTS)) for pair, _ in columns]
    labels = [strip.label(value) for value in strip.values]
    file = Path("img") / "atlas" / f"{atlas.base}-{strip.setting.replace(' ', '-')}.webp"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(pictures, (labels, list(PROMPTS), [""])).save(folder / file, "WEBP", quality=85, method=6)
    lines = [f"## {strip.setting}", "", strip.about, "", f"![{', '.join(labels)}]({file.as_posix()})", ""]
    if not strip.drawing:
        lines += ["| value | steps | seconds | last loss |", "|---|---|---|---|"]
        lines += [_figures(label, lora) for label, (_, lora) in zip(labels, columns, strict=True)]
        lines.append("")
    return lines


def _figures(label: str, lora: Trained) -> str:
    loss = "" if lora.loss is None else f"{lora.loss:.4f}"
    return f"| {label} | {lora.steps} | {lora.seconds:.0f} | {loss} |"


def write_atlas(atlas: Atlas, folder: Path, only: Sequence[str] = ()) -> Path:
    """Draw all strips and the page that shows them. Returns the page."""
    title = BASES[atlas.base].title
    lines = [
        f"# What settings do: {title}",
        "",
        f"Made by `python -m scripts.make_atlas --base {atlas.base}`: ten ink drawings, the preset style,"
        f" one setting changed at a time. All pictures have seed {SEED}; seconds are those of the machine"
        " that made it.",
        "",
    ]
    for strip in atlas.strips(only):
        lines += write_strip(atlas, strip, folder)
    page = folder / f"atlas-{atlas.base}.md"
    page.write_text("\n".join(lines), "utf-8")
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.make_atlas",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", choices=[base.name for base in EMBEDDED], default=STARTER.name)
    parser.add_argument("--only", nargs="+", default=[], choices=[strip.setting for strip in STRIPS])
    parser.add_argument(
        "--out", type=Path, default=CHECKOUT / "docs", help="folder of the page (default: docs)"
    )
    parser.add_argument("--tiny", action="store_true", help="few steps and values, to see that it works")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        studio = open_studio(Settings(home=Path(name) / "home", models=Path(name) / "models"))
        try:
            atlas = Atlas(studio=studio, base=given.base, tiny=given.tiny)
            page = write_atlas(atlas, given.out, given.only)
        finally:
            studio.close()
    print(f"{page}: {len(atlas.trained)} trainings. Link it from docs/index.md if it is new.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
