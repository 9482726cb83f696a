"""Whether a run may go on from a state: the same settings, pictures and base model, or a sentence that names
what differs."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from lora_studio.config import TrainConfig, config_leaves
from lora_studio.config_groups import Group
from lora_studio.data.edits.rendering import edited_content
from lora_studio.data.latent_cache import PlacedPicture
from lora_studio.data.training_set.folders import Picture
from lora_studio.errors import ConfigError, DatasetError, ModelFileError
from lora_studio.files import read_errors, sha256
from lora_studio.settings import Settings
from lora_studio.training.model import Engine

HARMLESS = frozenset(
    {
        # where things lie and what they are called: the pictures themselves are compared
        *("train_data_dir", "reg_data_dir", "conditioning_data_dir", "dataset_config", "in_json"),
        "dataset_version",
        *("output_dir", "title", "training_comment", "kind"),
        # what is written and looked at on the way
        *("save_every_n_steps", "save_state_every_n_steps", "save_state_every_n_minutes", "save_precision"),
        *("sample_prompts", "sample_every_n_steps", "sample_steps", "sample_guidance", "sample_seed"),
        *("validate_every_n_steps", "max_validation_steps", "checkpoint_board"),
        *("result_pictures", "max_preview_share"),
        # other ways to the same numbers
        *("cache_latents", "cache_latents_to_disk", "cache_text_encoder_outputs", "gradient_checkpointing"),
        *("blocks_to_swap", "train_distilled"),
        "worker",
    }
)
"""Settings that may be others when a run is resumed: none of them changes what is learned."""
STEADY = frozenset({"constant", "constant_with_warmup"})
"""Schedules that do not ask how many steps there are."""
FORK = "Put it back, or start a new run from the weights of this state."
NUMBERS = 8
OF_REGULARISATION = "'is_reg': True"
NOTE_OF_PLACEMENT = re.compile(r", note=(?:'[^']*'|\"[^\"]*\")")


def check_settings(before: TrainConfig, now: TrainConfig, step: int) -> None:
    """Refuse to resume with other settings. Raises ConfigError naming the first that differs and matters."""
    old, new = before.values(), now.values()
    for leaf in config_leaves():
        name, was, is_now = leaf.name, old[leaf.name], new[leaf.name]
        if was == is_now or name in HARMLESS or (name == "max_train_steps" and _may_end_elsewhere(now, step)):
            continue
        raise ConfigError(
            f"{name} was {_shown(was)} when the state of step {step} was saved and is {_shown(is_now)} now.",
            FORK,
            field=name,
        )


def _may_end_elsewhere(now: TrainConfig, step: int) -> bool:
    """Whether nothing is planned as a share of the steps."""
    settings, shares = now.optimizer, (now.optimizer.lr_warmup_steps, now.dataset.token_warmup_step)
    steady = settings.lr_scheduler in STEADY and not settings.lr_scheduler_type
    return steady and not any(0 < share < 1 for share in shares) and settings.max_train_steps >= step


def _shown(value: object) -> str:
    return "empty" if value in (None, "", ()) else str(value)


def picture_facts(placed: Sequence[PlacedPicture]) -> tuple[dict[str, str], ...]:
    """Facts of each picture in the order of the run: the SHA-256 of its file (of an edited one that of its
    original with the edits), its caption, its place. Raises DatasetError."""
    uses = Counter(path.name for path in {one.picture.path for one in placed})
    hashes: dict[Path, str] = {}

    def facts(one: PlacedPicture) -> dict[str, str]:
        path = one.picture.path
        hashes[path] = hashes.get(path) or _edited(path) or one.content or _hash(path)
        return {
            "file": path.name if uses[path.name] == 1 else f"{one.picture.folder}/{path.name}",
            "content": hashes[path],
            "caption": one.picture.caption,
            "placement": repr(one.placement),
            "options": repr(_options(one.picture)),
        }

    return tuple(facts(one) for one in placed)


def _options(picture: Picture) -> dict[str, object]:
    """Repeats, weight, mask and whatever else a picture has of its own."""
    return {
        name: _plain(value)
        for name, value in sorted(vars(picture).items())
        if name not in {"path", "caption", "folder"}
    }


def _plain(value: object) -> object:
    """A file counts by what is in it, a group of settings by those that matter."""
    if isinstance(value, Path):
        return _edited(value) or _hash(value)
    if isinstance(value, Group):
        return sorted((name, repr(inner)) for name, inner in value if name not in HARMLESS)
    return value


def _edited(path: Path) -> str:
    return edited_content(path, Settings.from_environment().edited)


def _hash(path: Path) -> str:
    with read_errors(path, DatasetError):
        return sha256(path)


def check_pictures(before: Sequence[Mapping[str, str]], now: Sequence[Mapping[str, str]], step: int) -> None:
    """Refuse to resume with other pictures. Raises DatasetError naming the first that differs."""
    difference = next(_differences(before, now), None)
    if difference is not None:
        raise DatasetError(f"{difference} since the state of step {step} was saved.", FORK)


def _kind(facts: Mapping[str, str]) -> str:
    """A picture's kind, for people, who look for it in one of two folders."""
    return "regularisation picture" if OF_REGULARISATION in facts["options"] else "picture"


def _place(facts: Mapping[str, str]) -> str:
    """The placement without its note, which is a sentence for people."""
    return NOTE_OF_PLACEMENT.sub("", facts["placement"])


def _differences(before: Sequence[Mapping[str, str]], now: Sequence[Mapping[str, str]]) -> Iterator[str]:
    old, new = {facts["file"]: facts for facts in before}, {facts["file"]: facts for facts in now}
    gone, came = (name for name in old if name not in new), (name for name in new if name not in old)
    yield from (f"The {_kind(old[name])} {name} has been removed" for name in gone)
    yield from (f"The {_kind(new[name])} {name} has been added" for name in came)
    for name, facts in old.items():
        if facts["content"] != new[name]["content"]:
            yield f"The {_kind(facts)} {name} has changed"
        if facts["caption"] != new[name]["caption"]:
            yield f"The caption of {name} has changed"
        if facts["options"] != new[name]["options"]:
            yield f"The repeats or other options of {name} have changed"
        if _place(facts) != _place(new[name]):
            yield f"The bucket or crop of {name} has changed"
    if [facts["file"] for facts in before] != [facts["file"] for facts in now]:
        yield "The order of the pictures has changed"


@torch.no_grad()
def base_mark(engine: Engine) -> str:
    """Tells one base model from another by a few numbers of each of the denoiser's weights."""
    numbers = [
        weight.flatten()[:NUMBERS].float()
        for weight in engine.base.denoiser.parameters()
        if not weight.requires_grad
    ]
    drawn = torch.cat(numbers).cpu().numpy().tobytes() if numbers else b""
    return f"{str(engine.dtype).removeprefix('torch.')}:{hashlib.sha256(drawn).hexdigest()}"


def check_base(before: str, now: str, step: int) -> None:
    """Refuse to resume on another base; one held in another number format can't be compared. Raises
    ModelFileError."""
    if before.partition(":")[0] == now.partition(":")[0] and before != now:
        raise ModelFileError(f"The base model has changed since the state of step {step} was saved.", FORK)
