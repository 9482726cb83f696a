"""Writes what a run leaves behind: checkpoints while it goes on, the result folder at its end."""

from __future__ import annotations

import contextlib
import json
import platform
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from lora_studio import __version__
from lora_studio.errors import DiskFull, Diverged
from lora_studio.events import PreviewSaved
from lora_studio.families.base_files.base_hashes import base_hashes_beside
from lora_studio.files import disk_errors, write_atomically
from lora_studio.lora.card_fields import read_words, words_of_people
from lora_studio.lora.file.metadata import RunFacts, build_metadata, with_hashes
from lora_studio.lora.lora_folder import json_text, read_notes
from lora_studio.lora.model_card import CardBase, write_card
from lora_studio.lora.network.kinds import is_finite
from lora_studio.training.model import Engine, base_name
from lora_studio.training.preparation.training_data import TrainingData
from lora_studio.training.result_path import result_file

PRECISIONS = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
KOHYAS_WORDS = {torch.float32: "no", torch.float16: "fp16", torch.bfloat16: "bf16"}
LIBRARIES = ("torch", "diffusers", "transformers", "peft", "safetensors")
REPEATED = re.compile(r".*(?:blocks|attentions|layers)\.\d+\.")
"""The part of a module path that differs between the repeated blocks of a model."""
HALVE = "Halve the learning rate, or use constant_with_warmup; look for odd pictures in the set."


@dataclass(kw_only=True)
class ResultFolder:
    """The folder `output_dir` of one run: `<name>.safetensors` and beside it adapter_config.json,
    training.json, README.md, previews/ and checkpoints/."""

    engine: Engine
    data: TrainingData
    optimizer: str
    started_at: float = field(default_factory=time.time)
    session_id: int = field(default_factory=lambda: secrets.randbits(32))
    _hashes: Future[dict[str, str]] | None = None

    def begin_hashing(self) -> Future[dict[str, str]]:
        """The hashes of the base's file, from the first call on worked out beside the steps: reading
        gigabytes takes seconds, which no save is to wait for."""
        if self._hashes is None:
            self._hashes = base_hashes_beside(self.engine.base.found)
        return self._hashes

    @property
    def notes(self) -> Mapping[str, Any]:
        """The content of training.json by an earlier run, and by people."""
        return read_notes(self.path)

    @property
    def path(self) -> Path:
        return Path(self.engine.config.output.output_dir)

    @property
    def file(self) -> Path:
        return result_file(self.engine.config.output.output_dir, self.engine.config.output.output_name)

    def save_checkpoint(self, step: int, epoch: int) -> Path | None:
        """`checkpoints/<name>-step00000050.safetensors`; None while the LoRA is still all zero. Raises
        Diverged."""
        tensors = self._checked()
        if tensors is None:
            return None
        name = self.engine.config.output.output_name
        path = self.path / "checkpoints" / f"{name}-step{step:08d}.safetensors"
        save_file(path, self._serialized(tensors, step, epoch))
        return path

    def publish(
        self, result: Mapping[str, Any], previews: Sequence[PreviewSaved], *, step: int, epoch: int
    ) -> Path | None:
        """Everything, the LoRA's file last: a folder that has it is complete. None when the LoRA is all
        zero."""
        tensors = self._checked()
        if tensors is None:
            return None
        contents: dict[Path, bytes | str] = {
            self.path / "training.json": json_text(self._training(result), allow_nan=False),
            **self._adapter_config(),
            self.path / "README.md": self._card(previews, step),
            self.file: self._serialized(tensors, step, epoch),
        }
        for path, content in contents.items():
            save_file(path, content)
        return self.file

    def _checked(self) -> dict[str, torch.Tensor] | None:
        tensors = self.engine.lora.tensors(PRECISIONS[self.engine.config.output.save_precision])
        if not all(map(is_finite, tensors.values())):
            raise Diverged("The LoRA's weights are no longer numbers, so it is not saved.", HALVE)
        return None if self.engine.lora.changes_nothing(tensors) else tensors

    def _serialized(self, tensors: Mapping[str, torch.Tensor], step: int, epoch: int) -> bytes:
        metadata = build_metadata(self.engine.config, self._facts(step, epoch))
        plain = {key: value for key, value in metadata.items() if key.startswith("ss_")}
        return save(dict(tensors), with_hashes(metadata, save(dict(tensors), plain)))

    def _facts(self, step: int, epoch: int) -> RunFacts:
        engine, config = self.engine, self.engine.config
        return RunFacts(
            step=step,
            epoch=epoch,
            epochs=self.data.steps.epochs,
            started_at=self.started_at,
            finished_at=time.time(),
            session_id=self.session_id,
            base_name=base_name(engine.base.found),
            optimizer=self.optimizer,
            mixed_precision=KOHYAS_WORDS[engine.dtype],
            caches_latents=config.dataset.cache_latents,
            clip_skip=config.model.clip_skip,
            dataset=self.data.facts,
            flow_matching=engine.base.found.traits.flow_matching,
            family=engine.base.metadata(),
            base_hashes=self.begin_hashing().result(),
        )

    def _training(self, result: Mapping[str, Any]) -> dict[str, Any]:
        engine = self.engine
        return {
            **words_of_people(self.notes),
            "config": engine.config.to_json(),
            "result": {
                **result,
                "images": len(self.data.loader.pictures),
                "base": base_name(engine.base.found),
                "family": engine.base.found.family,
                "started_at": self.started_at,
                "finished_at": time.time(),
                "device": engine.device.title,
                "dtype": str(engine.dtype).removeprefix("torch."),
            },
            "versions": {
                "lora_studio": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in LIBRARIES},
            },
        }

    def _adapter_config(self) -> dict[Path, str]:
        """The adapter config that PEFT would write, over all parts: the file beside it has Kohya's names, so
        this one informs. Empty for kinds that PEFT has no words for."""
        lora, found = self.engine.lora, self.engine.base.found
        if lora.peft_config is None:
            return {}
        settings = lora.peft_config.to_dict() | {
            "target_modules": sorted({REPEATED.sub("", path) for path in lora.modules.values()}),
            "base_model_name_or_path": (found.entry and found.repository) or base_name(found),
            "inference_mode": True,
        }
        plain = {key: value for key, value in settings.items() if _is_plain(value)}
        return {self.path / "adapter_config.json": json_text(plain, allow_nan=False)}

    def _card(self, previews: Sequence[PreviewSaved], step: int) -> str:
        found = self.engine.base.found
        last = max((preview.step for preview in previews), default=0)
        shown = [
            (preview.prompt, _relative(preview.base_path), _relative(preview.path))
            for preview in previews
            if preview.step == last > 0
        ]
        return write_card(
            self.engine.config,
            CardBase(
                name=base_name(found),
                hub_id=found.repository,
                licence=found.entry.licence if found.entry else "",
                family=found.family,
            ),
            images=len(self.data.loader.pictures),
            steps=step,
            previews=shown,
            words=read_words(self.notes),
            notes=words_of_people(self.notes),
        )


def saving(path: Path) -> contextlib.AbstractContextManager[None]:
    """Turn errors of writing a file of the run into DiskFull."""
    hint = "Make room on the disk; what was saved before is still there."
    return disk_errors(f"The file {path.name}", "written", hint, DiskFull)


def save_file(path: Path, content: bytes | str) -> None:
    """Whole or not at all. Raises DiskFull."""
    with saving(path):
        write_atomically(path, content)


def facts_of(preview: PreviewSaved) -> dict[str, Any]:
    """A preview as training.json lists it, with paths relative to it."""
    return {**asdict(preview), "path": _relative(preview.path), "base_path": _relative(preview.base_path)}


def _relative(path: str) -> str:
    return f"previews/{Path(path).name}"


def _is_plain(value: object) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
