"""Sweeps: one training for each combination of values of some settings."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_studio.config import TrainConfig, config_leaf
from lora_studio.errors import ConfigError, StudioError
from lora_studio.events import Event, Finished, Paused, Stopped, event_from_json
from lora_studio.jobs.cloud.cloud_run import folder_of, log_of
from lora_studio.jobs.cloud.cloud_settings import CloudSettings
from lora_studio.jobs.cloud.cloud_worker import Cloud, Landing
from lora_studio.jobs.cloud.luggage import pack
from lora_studio.parsing.slugs import slug_from
from lora_studio.settings import Settings
from lora_studio.training_request import RunRequest

MOST, SHORT = 100, 40
"""Trainings of a sweep; letters of the name that its trainings begin with."""
NOT_VARIED = {"output_name", "output_dir", "train_data_dir", "pretrained_model_name_or_path"}


def read_values(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The values of `name=a,b,c`, by setting. Raises ConfigError."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values.strip():
            raise ConfigError(
                f"{text!r} is not of the form name=a,b,c.", "For example learning_rate=1e-4,5e-5."
            )
        name = config_leaf(name.strip()).name
        if name in NOT_VARIED:
            raise ConfigError(f"{name} can't be varied in a sweep.", "Vary another setting.", field=name)
        found[name] = tuple(value.strip() for value in values.split(",") if value.strip())
    return found


def sweep(config: TrainConfig, values: Mapping[str, Sequence[str]]) -> list[TrainConfig]:
    """A configuration for each combination, named after its values, with a folder of its own beside the
    others. Raises ConfigError for values that are none and for too many combinations."""
    combinations = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    if len(combinations) > MOST:
        raise ConfigError(
            f"These are {len(combinations)} trainings, {MOST} are allowed in a sweep.", "Vary less."
        )
    found = []
    for number, chosen in enumerate(combinations, 1):
        name = config.output.output_name
        if chosen:
            name = slug_from("-".join([name[:SHORT], str(number), *chosen.values()]))
        place = Path(config.output.output_dir).with_name(name)
        found.append(config.with_values({**chosen, "output_name": name, "output_dir": str(place)}))
    return found


TrainAll = Callable[[Sequence[Mapping[str, Any]]], Iterable[Any]]
"""A function that trains all orders, at the same time where it can, and gives each result in their order; an
exception stands for a function that broke off."""


def run_sweep(
    configs: Sequence[TrainConfig],
    cloud: Cloud,
    train_all: TrainAll,
    settings: Settings,
    limits: CloudSettings,
) -> Iterator[tuple[TrainConfig, str]]:
    """Train all, and fetch what they made: each with a sentence on what became of it. What goes wrong with
    one loses nothing of the others. Raises StudioError before anything is started."""
    orders = []
    for config in configs:
        run = secrets.token_hex(8)
        luggage = pack(RunRequest(config=config), run, settings, seconds=limits.seconds, usd=limits.max_usd)
        cloud.upload(luggage.contents)
        orders.append({**luggage.order, "attended": False})  # no studio gives a sign while a map runs
    results = iter(train_all(orders))
    for config, order in zip(configs, orders, strict=True):
        yield config, _fetched(cloud, config, str(order["run"]), _next_of(results))


def _next_of(results: Iterator[Any]) -> Any:
    """The next result. An error of the connection stands for all trainings; nothing comes after it."""
    try:
        return next(results, StudioError("Nothing was heard of it."))
    except Exception as error:
        return error


def _fetched(cloud: Cloud, config: TrainConfig, run: str, result: Any) -> str:
    broke_off = isinstance(result, BaseException)
    if not broke_off and (failure := result.get("failure")):
        return f"{failure['message']} {failure['hint']}".rstrip()
    landing = Landing(cloud=cloud, run=run, config_json=config.to_json())
    try:
        last = landing.last(last_event(cloud, run))
        cloud.forget(run)
    except (StudioError, ValueError) as error:
        if broke_off:  # and it had not come to its last word
            return f"It broke off: {next(iter(str(result).splitlines()), type(result).__name__)}"
        return f"What it made can't be fetched: {error}"
    if isinstance(last, Finished):
        return f"Finished: {landing.output}"
    return f"{type(last).__name__} at step {getattr(last, 'step', 0)}: {landing.output}"


def last_event(cloud: Cloud, run: str) -> Event:
    """The last word of a run that has ended. Raises ValueError where it has none."""
    spent = json.loads(cloud.read(f"{folder_of(run)}/spent.json") or "{}")
    lines = cloud.read(log_of(run, int(spent.get("attempts", 1)))).splitlines()
    event = event_from_json(json.loads(lines[-1] if lines else "{}"))
    if not isinstance(event, Finished | Stopped | Paused):
        raise ValueError(f"it ended at {type(event).__name__}")
    return event
