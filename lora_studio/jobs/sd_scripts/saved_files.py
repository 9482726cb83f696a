"""Files that sd-scripts leaves behind, in the library's layout: the LoRA, its facts, card and pictures."""

from __future__ import annotations

import contextlib
import platform
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_studio import __version__
from lora_studio.config import TrainConfig
from lora_studio.errors import StudioError
from lora_studio.events import PreviewSaved
from lora_studio.files import copy_atomically, disk_errors, replace_file, write_atomically
from lora_studio.jobs.sd_scripts.launch_files import Launch
from lora_studio.lora.card_fields import read_words, words_of_people
from lora_studio.lora.file.lora_files import file_name, read_header
from lora_studio.lora.lora_folder import json_text, read_notes
from lora_studio.lora.model_card import CardBase, write_card

STEP = re.compile(r"-step(\d+)$")
SAMPLE = re.compile(r"_(e?)(\d{6})_(\d+)_\d{14}(?:_(\d+))?$")
SETTLED_SECONDS = 0.5


@dataclass(kw_only=True)
class SavedFiles:
    """The files of one run in `launch.saves`, and the previews that were found there so far."""

    config: TrainConfig
    launch: Launch
    previews: list[PreviewSaved] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    @property
    def folder(self) -> Path:
        return Path(self.config.output.output_dir)

    def newest(self, *, up_to: int | None = None) -> tuple[Path, int] | None:
        """(file, step) of the latest whole checkpoint, with `up_to` of those up to that step; the step is 0
        for one that is counted in epochs. A damaged file is left where it is."""
        name = self.config.output.output_name
        found = sorted(
            self.launch.saves.glob(f"{name}*.safetensors"), key=lambda path: path.stat().st_mtime_ns
        )
        for path in reversed(found):
            match = STEP.search(path.stem)
            step = int(match[1]) if match else 0
            if up_to is not None and not 0 < step <= up_to:
                continue
            with contextlib.suppress(StudioError, OSError):
                read_header(path)
                return path, step
        return None

    def finished(self) -> Path | None:
        """The LoRA that a run to its end writes; None when it is missing or not whole."""
        path = self.launch.saves / f"{self.config.output.output_name}.safetensors"
        try:
            read_header(path)
        except (StudioError, OSError):
            return None
        return path

    def take_previews(self, step: int, *, runs: bool) -> list[PreviewSaved]:
        """Sample pictures that have come since the last look, copied to where the page shows them. Pictures
        of the time before the first step are the base model's. While the training `runs`, the newest may be
        unfinished and is left for the next look."""
        found = []
        old = time.time() - (SETTLED_SECONDS if runs else 0)
        for path in sorted((self.launch.saves / "sample").glob("*.png")):
            match = SAMPLE.search(path.stem)
            if path.name in self._seen or match is None or path.stat().st_mtime > old:
                continue
            self._seen.add(path.name)
            number = int(match[3])
            at = step if match[1] else int(match[2])
            base = self.folder / "previews" / f"base-{number}.png"
            target = self.folder / "previews" / f"step-{at:06d}-{number}.png" if at else base
            with contextlib.suppress(OSError):
                copy_atomically(path, target)
                prompts = self.launch.prompts
                found.append(
                    PreviewSaved(
                        step=at,
                        path=str(target),
                        base_path=str(base),
                        prompt=prompts[number] if number < len(prompts) else "",
                        seed=int(match[4] or 0),
                    )
                )
        self.previews += found
        return found

    def publish(self, file: Path, facts: Mapping[str, Any]) -> Path:
        """Put `file` where the library looks, with training.json and the card beside it; the LoRA comes last.
        A checkpoint is copied, the finished LoRA moved. Raises StudioError."""
        target = self.folder / file_name(self.config.output.output_name)
        steps = int(facts["steps"])
        with disk_errors("The LoRA", "brought into the library", f"It is in {file}."):
            write_atomically(self.folder / "training.json", self._training(facts))
            write_atomically(self.folder / "README.md", self._card(steps))
            if STEP.search(file.stem) or file.stem != self.config.output.output_name:
                copy_atomically(file, target)
            else:
                replace_file(file, target)
        return target

    def _training(self, facts: Mapping[str, Any]) -> str:
        result = {
            **facts,
            "engine": "sd-scripts",
            "images": self.launch.images,
            "base": self.launch.base.name,
            "family": self.launch.base.family,
            "previews": [
                {
                    "step": one.step,
                    "path": f"previews/{Path(one.path).name}",
                    "base_path": f"previews/{Path(one.base_path).name}",
                    "prompt": one.prompt,
                    "seed": one.seed,
                }
                for one in self.previews
            ],
        }
        versions = {"lora_studio": __version__, "python": platform.python_version()}
        kept = words_of_people(read_notes(self.folder))
        data = {**kept, "config": self.config.to_json(), "result": result, "versions": versions}
        return json_text(data)

    def _card(self, steps: int) -> str:
        base = self.launch.base
        last = max((one.step for one in self.previews), default=0)
        shown = [
            (one.prompt, f"previews/{Path(one.base_path).name}", f"previews/{Path(one.path).name}")
            for one in self.previews
            if one.step == last > 0
        ]
        return write_card(
            self.config,
            CardBase(
                name=base.name,
                hub_id=base.repository,
                licence=base.entry.licence if base.entry else "",
                family=base.family,
            ),
            images=self.launch.images,
            steps=steps,
            previews=shown,
            words=read_words(read_notes(self.folder)),
            notes=words_of_people(read_notes(self.folder)),
        )
