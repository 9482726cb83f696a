"""The atlas of one base: its trainings, each made once and kept, and the pictures drawn with them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from lora_studio.catalog import BASES
from lora_studio.files import write_atomically
from lora_studio.request import GenerateRequest, LoraUse
from lora_studio.settings import CHECKOUT
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from scripts.make_atlas.strips import IMAGES, KIND, STEPS, STRIPS, TRIGGER, TRIGGERED, WEIGHT, Strip

PICTURES = CHECKOUT / "examples" / "ink"
SEED, PATIENCE = 7, 3600.0
QUIET = {"seed": 42, "sample_every_n_steps": 0, "checkpoint_board": False, "result_pictures": 0}
"""Settings of every training: nothing is drawn on the way."""
TINY_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A LoRA of the atlas and what it took; `seconds` are the processor's."""

    slug: str
    steps: int
    seconds: float
    loss: float | None


@dataclass(frozen=True, kw_only=True)
class Column:
    """One value of a strip: a picture for each prompt, the LoRA they were drawn with, and the processor's
    seconds of the fastest."""

    pictures: tuple[Image.Image, ...]
    lora: Trained
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """One base's strips. A training that several strips share is made once, and kept in the home of the
    studio, so that a run that broke off goes on where it was."""

    studio: Studio
    base: str
    tiny: bool = False

    def strips(self, only: Iterable[str] = ()) -> list[Strip]:
        """Strips that have a meaning for the base; two values of each, and one prompt, in a tiny atlas."""
        wanted = set(only)
        chosen = [
            strip for strip in STRIPS if (strip.setting in wanted or not wanted) and strip.suits(self.base)
        ]
        return (
            [replace(strip, values=strip.values[:2], prompts=strip.prompts[:1]) for strip in chosen]
            if self.tiny
            else chosen
        )

    def train(self, changes: Mapping[str, Any]) -> Trained:
        """The LoRA that the settings give. Exits where a training ends otherwise than finished."""
        file = self.studio.settings.home / "atlas.json"
        kept = json.loads(file.read_text("utf-8")) if file.exists() else {}
        key = json.dumps([self.base, self.tiny, dict(changes)], sort_keys=True)
        if key not in kept:
            kept[key] = asdict(self._trained(dict(changes), f"atlas {len(kept)}"))
            write_atomically(file, json.dumps(kept, indent=1).encode())
        return Trained(**kept[key])

    def _trained(self, changes: dict[str, Any], name: str) -> Trained:
        count = changes.pop(IMAGES, None)
        files = sorted(path for path in PICTURES.iterdir() if path.suffix != ".md")
        stems = sorted({path.stem for path in files})[:count]
        dataset = self.studio.datasets.create("ink", [path for path in files if path.stem in stems])
        overrides = {**QUIET, **changes}
        if self.tiny:
            overrides["max_train_steps"] = TINY_STEPS
        # What it imports is no part of the first training's time.
        import lora_studio.training.start.start_run  # noqa: F401

        started = time.process_time()
        job = self.studio.trainings.start(
            StartTraining(
                dataset_id=dataset.id,
                name=name,
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
            seconds=time.process_time() - started,
            loss=record.loss,
        )

    def draw(self, strip: Strip, value: Any) -> Column:
        """The pictures of one value."""
        lora = self.train(strip.changes(value))
        requests = [self._request(prompt, lora.slug, strip, value) for prompt in strip.prompts]
        self._picture(requests[0])  # loads base and LoRA, which isn't timed
        drawn = [self._picture(request) for request in requests]
        return Column(
            pictures=tuple(picture for picture, _ in drawn),
            lora=lora,
            seconds=min(seconds for _, seconds in drawn),
        )

    def _request(self, prompt: str, slug: str, strip: Strip, value: Any) -> GenerateRequest:
        weight = value if strip.setting == WEIGHT else 1.0
        if strip.setting == TRIGGERED and value == "without":
            prompt = prompt.partition(",")[0]
        is_own = strip.drawing and value is not None and strip.setting not in (WEIGHT, TRIGGERED)
        return GenerateRequest(
            prompt=prompt,
            base=self.base,
            loras=(LoraUse(slug=slug, weight=weight),),
            insert_trigger=False,
            seed=SEED,
            **strip.fixed,
            **({strip.setting: value} if is_own else {}),
        )

    def _picture(self, request: GenerateRequest) -> tuple[Image.Image, float]:
        started = time.process_time()
        record = self.studio.generate(request)[0]
        seconds = time.process_time() - started
        with Image.open(record.path) as picture:
            return picture.convert("RGB"), seconds

    def steps(self, strip: Strip, value: Any) -> int:
        """The steps that a picture of this value is drawn in."""
        if strip.setting == STEPS and value is not None:
            return int(value)
        return int(strip.fixed.get(STEPS, BASES[self.base].num_inference_steps))
