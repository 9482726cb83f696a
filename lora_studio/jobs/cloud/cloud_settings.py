"""The owner's settings of rented machines: whether, which graphics card, and for how much money at most."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lora_studio.errors import ConfigError

RATES: Mapping[str, float] = {
    "T4": 0.5904,
    "L4": 0.7992,
    "A10": 1.1016,
    "L40S": 1.9512,
    "A100-40GB": 2.0988,
    "A100-80GB": 2.4984,
    "H100": 3.9492,
    "H200": 4.5396,
    "B200": 6.2496,
}
"""Modal's list prices of a graphics card in US dollars an hour, without processor and memory, as
modal.com/pricing had them in September 2026."""
REST = 0.35
"""US dollars an hour for processor cores and memory beside the card: the same page asks 0.0472 for a core and
0.0080 for a GiB, so this is four cores with 20 GiB."""
Mode = Literal["", "modal", "local"]
MODES: Mapping[str, Mode] = {"": "", "0": "", "no": "", "1": "modal", "yes": "modal", "local": "local"}


@dataclass(frozen=True, kw_only=True)
class CloudSettings:
    """`mode` is empty where no training may be sent away, `local` for a rehearsal on this machine; `gpu` one
    of RATES, `max_usd` the most that one training may cost."""

    mode: Mode = ""
    gpu: str = "L4"
    max_usd: float = 5.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> CloudSettings:
        """Read `LORA_STUDIO_MODAL` (1, or local) with its `_GPU` and `_MAX_USD`. Raises ConfigError."""
        env = os.environ if environment is None else environment
        mode = env.get("LORA_STUDIO_MODAL", "").strip().lower()
        if mode not in MODES:
            raise ConfigError("LORA_STUDIO_MODAL is neither 1 nor local.", field="LORA_STUDIO_MODAL")
        gpu = env.get("LORA_STUDIO_MODAL_GPU", "").strip().upper() or cls.gpu
        if gpu not in RATES:
            raise ConfigError(
                f"LORA_STUDIO_MODAL_GPU is {gpu[:40]!r}.",
                f"Choose one of {', '.join(RATES)}.",
                field="LORA_STUDIO_MODAL_GPU",
            )
        return cls(mode=MODES[mode], gpu=gpu, max_usd=_dollars(env.get("LORA_STUDIO_MODAL_MAX_USD", "")))

    @property
    def usd_per_hour(self) -> float:
        return RATES[self.gpu] + REST

    @property
    def seconds(self) -> float:
        """The longest that a training may take for `max_usd`."""
        return self.max_usd / self.usd_per_hour * 3600


def _dollars(text: str) -> float:
    if not text.strip():
        return CloudSettings.max_usd
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 10_000:
        raise ConfigError(
            "LORA_STUDIO_MODAL_MAX_USD is no number of US dollars from 0.01 to 10000.",
            "For example 5.",
            field="LORA_STUDIO_MODAL_MAX_USD",
        )
    return value
