"""The setup of a training: its name, its trigger word, its whole configuration, its place in the queue."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_studio.access.roles import Role
from lora_studio.access.visitor import visitor
from lora_studio.catalog import check_trainable, plan, preview_prompts
from lora_studio.config import TrainConfig, config_leaf
from lora_studio.data.captions import captions_in, find_word
from lora_studio.data.edits.overlay import overlaid
from lora_studio.data.training_set.run_subsets import has_regularisation, options_of_set
from lora_studio.data.training_set.subsets import has_masks
from lora_studio.dataset import Datasets
from lora_studio.errors import ConfigError, DatasetError, DeviceBusy
from lora_studio.estimate import TrainingEstimate
from lora_studio.events import Emit, ShouldStop, ignore, never_stop
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.locate import known_base
from lora_studio.jobs.action_locks import ActionLocks
from lora_studio.jobs.engine_worker import check_can_train, check_place
from lora_studio.jobs.training_queue import TrainingQueue
from lora_studio.lora.names import given_title
from lora_studio.parsing.slugs import MOST_LETTERS, free_slug, slug_from
from lora_studio.records import JobRecord
from lora_studio.runtime import DeviceLease
from lora_studio.settings import Settings
from lora_studio.training.measure import measure
from lora_studio.training_request import StartTraining

NAMED_IN = 0.8
"""Share of the captions that must have the name in them."""
MADE_UP = re.compile(r"(?<![\w-])(?:ohwx|[b-df-hj-np-tv-xz]{3,8}+)(?![\w-])")
"""A word as people make them up for a trigger: small letters without vowels, or the one of many tutorials."""
FROM_THE_NAME = frozenset({"output_name", "output_dir", "title", "train_data_dir"})


@dataclass(frozen=True)
class TrainingSetup:
    """The way from a StartTraining to a queued job."""

    settings: Settings
    datasets: Datasets
    jobs: TrainingQueue
    lease: DeviceLease
    turns: ActionLocks
    naming: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """A lock from choosing a free name to submitting the job that takes it."""

    def start(self, wanted: StartTraining) -> JobRecord:
        """Queue a training of an uploaded dataset. Raises ConfigError, DatasetError, ModelFileError."""
        check_can_train(self.settings, wanted.overrides.get("worker"))
        with self.naming:
            return self.jobs.submit(self.config(wanted))

    def config(self, wanted: StartTraining) -> TrainConfig:
        """The configuration that `start` would queue. Raises ConfigError, DatasetError, ModelFileError,
        NotAllowed."""
        visitor().needs(Role.TRAINER)  # the base may be asked for at the Hub
        dataset = self.datasets.get(wanted.dataset_id)
        if not dataset.images:
            raise DatasetError(
                "There are no pictures to train on.", "Upload at least one picture.", path=dataset.path
            )
        config = self.folder_config(wanted, dataset.path, dataset.images)
        # Edits that are made while it waits or rests are not for it, and names of versions move.
        version = self.datasets.edits(dataset.id).at(config.dataset.dataset_version)
        return config.with_values({"dataset_version": version})

    def folder_config(self, wanted: StartTraining, folder: Path | str, images: int) -> TrainConfig:
        """The configuration for `images` pictures in a folder, which need not be a set: preset of the kind,
        the base's defaults, what the set's dataset config says of all of it, then the overrides. The output
        folder is a fresh one. Raises ConfigError, and ModelFileError for a base that is missing: it is named
        now, not when the job's turn comes."""
        slug = self.free_slug(wanted.name)
        found = known_base(wanted.base, self.settings)
        trigger = wanted.trigger.strip() or made_trigger(wanted.name, slug, self._captions(folder))
        of_set = options_of_set(folder)
        values: dict[str, Any] = {
            **plan(wanted.kind, found.traits, images, {**of_set, **wanted.overrides}).values,
            "pretrained_model_name_or_path": wanted.base,
            "train_data_dir": str(folder),
            "trigger_word": trigger,
            "output_name": slug,
            "title": given_title(wanted.name),
            "output_dir": str(self.settings.loras / slug),
            "sample_prompts": preview_prompts(wanted.kind, trigger, found.traits.name),
            **({} if has_regularisation(folder) else _regularisation(found)),
            **_masks(Path(folder), wanted.overrides),
            **of_set,
        }
        for key, value in wanted.overrides.items():
            if config_leaf(key).name in FROM_THE_NAME:
                raise ConfigError(
                    f"{key} can't be set here.", "It follows from the name you give.", field=key
                )
            values[key] = value
        config = TrainConfig.from_values(values)
        check_trainable(found.traits, confirmed=config.model.train_distilled)
        check_place(config.run)
        return config

    def trigger_for(self, dataset_id: str, name: str) -> str:
        """The trigger word of a training of this name without one of its own. Raises ConfigError,
        StoreError."""
        return made_trigger(name, slug_of(name), self._captions(self.datasets.get(dataset_id).path))

    def _captions(self, folder: Path | str) -> list[str]:
        return overlaid(Path(folder), self.settings.edited).words(captions_in(Path(folder)))

    def measure(
        self, config: TrainConfig, emit: Emit = ignore, should_stop: ShouldStop = never_stop
    ) -> TrainingEstimate | None:
        """The estimate of a training. Waits for the device; a running training gives way meanwhile. Nothing
        is written. None when stopped. Raises StudioError; DeviceBusy while another is measured."""
        visitor().needs(Role.TRAINER)
        check_can_train(self.settings)
        try:
            with self.turns.take("plan"), self.lease.hold("planning", give_up=should_stop):
                return measure(config, emit, should_stop)
        except DeviceBusy:
            if should_stop():
                return None
            raise

    def free_slug(self, name: str) -> str:
        """A slug that neither the library nor a waiting training has yet. Raises ConfigError."""
        taken = self.jobs.names_in_use()
        if self.settings.loras.is_dir():
            taken |= {path.name for path in self.settings.loras.iterdir()}
        return free_slug(slug_of(name), taken.__contains__)


def _masks(folder: Path, overrides: Mapping[str, Any]) -> dict[str, bool]:
    """Settings that use masks beside the pictures, unless the overrides choose another way."""
    others = ("alpha_mask", "conditioning_data_dir", "dataset_config", "in_json")
    if any(overrides.get(name) for name in others) or not folder.is_dir():
        return {}
    return {"masked_loss": True} if has_masks(folder) else {}


def _regularisation(found: FoundBase) -> dict[str, str]:
    """Settings that use the pictures that come with a base to keep a LoRA from changing the rest."""
    folder = found.traits.regularisation
    return {"reg_data_dir": str(Path(found.path_or_id) / folder)} if folder else {}


def slug_of(name: str) -> str:
    """A folder-safe form of a name. Raises ConfigError for names that are empty or look like a path."""
    given_title(name)
    if re.search(r"[/\\\x00-\x1f]", name) or name.strip().startswith("."):
        raise ConfigError(
            f"The name {name!r} contains a slash or another character that a file name can't have.",
            "Use letters, digits, spaces and hyphens.",
            field="name",
        )
    slug = slug_from(name, MOST_LETTERS)
    if not slug:
        raise ConfigError(
            f"The name {name!r} has no letter or digit that a folder name can keep.",
            "Use at least one of a-z or 0-9.",
            field="name",
        )
    return slug


def made_trigger(name: str, slug: str, captions: list[str]) -> str:
    """The trigger word of a LoRA where nobody gives one: the name, if the captions call it so, or a word in
    them that is none of the language; else one made from the name."""
    found_names = [found for caption in captions if (found := find_word(caption, name.strip()))]
    if captions and len(found_names) >= NAMED_IN * len(captions):
        return Counter(found_names).most_common(1)[0][0]
    return _made_up_word(captions) or default_trigger(slug)


def _made_up_word(captions: list[str]) -> str:
    """The word of nearly all captions that is made up as triggers are; empty where none is, or where only one
    caption could tell."""
    counts = Counter(word for caption in captions for word in set(MADE_UP.findall(caption)))
    word, count = counts.most_common(1)[0] if counts else ("", 0)
    return word if len(captions) > 1 and count >= NAMED_IN * len(captions) else ""


def default_trigger(slug: str) -> str:
    """A word that text encoders hardly know, made from the slug: its letters without vowels, up to five."""
    letters = re.sub(r"[aeiou0-9-]", "", slug)[:5]
    return letters if len(letters) >= 3 else f"zw{letters or 'x'}"
