"""The request of a strength report, and the plan that is made of it with what is known about the LoRA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_studio.access.visitor import Kind, visitor
from lora_studio.catalog import PRESETS
from lora_studio.catalog.strength_prompts import noun_in, strength_prompts
from lora_studio.config import TrainConfig
from lora_studio.data.training_set.folders import Picture, read_folder
from lora_studio.errors import ConfigError, StudioError
from lora_studio.grids.strength_drawing import SEED, WEIGHTS, StrengthPlan
from lora_studio.lora.lora_folder import base_of, read_notes
from lora_studio.parsing.numbers import read_decimal
from lora_studio.parsing.plain_text import plain_text
from lora_studio.records import LoraRecord
from lora_studio.settings import Settings

MOST_WEIGHTS, LONGEST_NOUN = 8, 60
UNKNOWN_KIND = "object"


@dataclass(frozen=True, kw_only=True)
class StrengthRequest:
    """A wish for a LoRA's report. An empty `base` is the trained one, an empty `noun` the captions'."""

    slug: str
    base: str = ""
    noun: str = ""
    weights: tuple[float, ...] = WEIGHTS
    seed: int = SEED

    @classmethod
    def build(
        cls, slug: str, *, base: str = "", noun: str = "", weights: Sequence[object] = ()
    ) -> StrengthRequest:
        """Construct from what a person typed; no weights are the usual ones. Raises ConfigError."""
        if not isinstance(noun, str) or len(noun) > LONGEST_NOUN:
            raise ConfigError(
                f"noun: at most {LONGEST_NOUN} characters are possible.",
                "Write a word, as dog.",
                field="noun",
            )
        asked = sorted({read_decimal(weight, "weights", least=-4, most=4) for weight in weights} - {0.0})
        if len(asked) > MOST_WEIGHTS:
            raise ConfigError(
                f"{len(asked)} weights are too many.", f"Name at most {MOST_WEIGHTS}.", field="weights"
            )
        words = plain_text(noun, LONGEST_NOUN).casefold()
        return cls(slug=slug, base=base, noun=words, weights=tuple(asked) or WEIGHTS)


def plan_strength(
    request: StrengthRequest, record: LoraRecord, pictures: Sequence[Picture] = ()
) -> StrengthPlan:
    """The plan of a report. `pictures` are those that the LoRA was trained on, as far as they are here."""
    base = request.base or base_of(record)
    if not base:
        raise ConfigError(
            f"“{record.title}” doesn't say which base model it was made for.",
            "Name the base model.",
            field="base",
        )
    kind = next((kind for kind in PRESETS if kind == record.kind), UNKNOWN_KIND)
    noun = request.noun or noun_in((picture.caption for picture in pictures), record.trigger_word)
    return StrengthPlan(
        slug=record.slug,
        title=record.title,
        trigger_word=record.trigger_word,
        base=base,
        tensor_hash=record.id,
        prompts=strength_prompts(PRESETS[kind].kind, record.trigger_word, base, noun),
        weights=(0.0, *request.weights),
        seed=request.seed,
    )


def trained_pictures(record: LoraRecord, settings: Settings) -> tuple[Picture, ...]:
    """The pictures that a LoRA learned, by its training.json: those here that the visitor may see."""
    path = Path(record.path)
    try:
        data = TrainConfig.from_json(read_notes(path if path.is_dir() else path.parent)["config"]).dataset
        folder = Path(data.train_data_dir)
        is_set = folder.parent == settings.datasets
        if not (visitor().sees(Kind.DATASET, folder.name) if is_set else visitor().sees_all):
            return ()
        found = read_folder(data).pictures
    except (StudioError, OSError, KeyError, TypeError, AttributeError, ValueError):
        return ()  # not ours, or gone
    return tuple(picture for picture in found if not picture.is_reg)
