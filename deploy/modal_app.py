"""The app that trains at Modal: `modal deploy deploy/modal_app.py`, once for each version of LoRA Studio.

A sweep: `modal run deploy/modal_app.py --config <a LoRA's training.json> --vary learning_rate=1e-4,5e-5`.
Without an account `train.local(...)` runs the same body here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import modal

CHECKOUT = Path(__file__).resolve().parent.parent
if (CHECKOUT / "lora_studio").is_dir():
    sys.path.insert(0, str(CHECKOUT))

from lora_studio.config import TrainConfig  # noqa: E402
from lora_studio.jobs.cloud.cloud_run import Channel, run_order  # noqa: E402
from lora_studio.jobs.cloud.cloud_settings import CloudSettings  # noqa: E402
from lora_studio.jobs.cloud.sweep import read_values, run_sweep, sweep  # noqa: E402
from lora_studio.jobs.modal_worker import (  # noqa: E402
    MOUNT,
    NAME,
    DeafChannel,
    ModalChannel,
    ModalCloud,
)
from lora_studio.settings import Settings  # noqa: E402

HOME = "/root"
VOLUME = os.environ.get("LORA_STUDIO_VOLUME", str(MOUNT))
"""The folder of the volume: another one for rehearsals without Modal."""

app = modal.App(NAME)
volume = modal.Volume.from_name(NAME, create_if_missing=True)


def _requirements() -> list[str]:
    """Lines of requirements.txt; empty inside the container, where all is installed."""
    file = CHECKOUT / "requirements.txt"
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    return [line for line in lines if line and not line.startswith("#")]


image = modal.Image.debian_slim(python_version="3.11")
if modal.is_local():
    image = (
        image.uv_pip_install(*_requirements())
        .env({"HF_HOME": f"{MOUNT}/huggingface", "LORA_STUDIO_HOME": "/tmp/studio", "PYTHONPATH": HOME})
        .add_local_dir(CHECKOUT / "lora_studio", f"{HOME}/lora_studio", ignore=["**/__pycache__"])
        .add_local_dir(CHECKOUT / "models" / "starter", f"{HOME}/models/starter")
        .add_local_dir(CHECKOUT / "models" / "starter-flow", f"{HOME}/models/starter-flow")
    )


@app.function(image=image, gpu=CloudSettings.gpu, volumes={str(MOUNT): volume}, timeout=24 * 3600, retries=3)
def train(order: dict[str, Any]) -> dict[str, Any]:
    """Train as luggage.pack says; after a machine was taken away, from the run's own last state."""
    channel: Channel = DeafChannel() if modal.is_local() else ModalChannel(order["run"], volume)
    return run_order(order, Path(VOLUME), channel)


@app.local_entrypoint()
def main(config: str, vary: str = "") -> None:
    """Train each combination of `vary` (name=a,b, several with ; between them), all at once, and bring the
    LoRAs home."""
    settings, limits = Settings.from_environment(), CloudSettings.from_environment()
    data = json.loads(Path(config).read_text("utf-8"))
    given = TrainConfig.from_json(data.get("config", data))
    configs = sweep(given, read_values([part for part in vary.split(";") if part.strip()]))
    function = train.with_options(gpu=limits.gpu)

    def train_all(orders: Sequence[Mapping[str, Any]]) -> Iterable[Any]:
        return function.map(orders, return_exceptions=True)

    for one, outcome in run_sweep(configs, ModalCloud(limits.gpu), train_all, settings, limits):
        print(f"{one.output.output_name}: {outcome}")
