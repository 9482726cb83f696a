"""The report on a LoRA file: facts, without tensors, that page, API and command line show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lora_studio.lora.inspection.private_metadata import PrivateFact
from lora_studio.lora.inspection.program_readings import ProgramReading


@dataclass(frozen=True, kw_only=True)
class BlockStrength:
    """A block of the base model: how many layers change it, their smallest and largest rank, the norm of
    their changes together (None where the base tells it only), and by how much kinds that turn weights
    change them, as a share."""

    block: str
    layers: int
    ranks: tuple[int, int]
    norm: float | None
    relative: float | None = None


@dataclass(frozen=True, kw_only=True)
class Survival:
    """The rest of a change that is merged into weights of 8 bits: `arrives`, the part of it that the
    rounded weights move by along the change (1: all), `noise`, the rounding beside it in units of the
    change, `unmoved`, the share of weights that should move and don't."""

    bits: str
    arrives: float
    noise: float
    unmoved: float


@dataclass(frozen=True, kw_only=True)
class OnBase:
    """A file measured on a base: the norm of its change as a share of the weights' that it changes, how many
    layers have a place, and what survives in 8 bits."""

    base: str
    layers: int
    relative: float
    survivals: tuple[Survival, ...]
    left_out: str = ""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A repair in the words of `--fix`, and what it is good for."""

    fix: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class LoraReport:
    """All that is found out about a file. `kinds` counts layers by kind, `ranks` layers by rank, `precision`
    is each number format's share of the numbers; `broken` and `zero` are layers with NaN or infinite numbers
    and without an effect, the first few by name; `left_out` is a sentence on tensors without a meaning here,
    `left_out_share` their share of the file; `training` and `private` are what the metadata says."""

    name: str
    size_bytes: int
    what: str
    kinds: Mapping[str, int]
    family: str
    family_title: str
    family_source: str
    here: str
    base: str
    ranks: Mapping[int, int]
    alpha: float
    alpha_source: str
    spelling: str
    precision: Mapping[str, float]
    blocks: tuple[BlockStrength, ...]
    norm: float | None
    broken: tuple[str, ...] = ()
    broken_count: int = 0
    zero: tuple[str, ...] = ()
    zero_count: int = 0
    left_out: str = ""
    left_out_share: float = 0.0
    embeddings: tuple[str, ...] = ()
    training: Mapping[str, str] = field(default_factory=dict)
    private: tuple[PrivateFact, ...] = ()
    programs: tuple[ProgramReading, ...] = ()
    on_base: OnBase | None = None
    suggestions: tuple[Suggestion, ...] = ()
    notes: tuple[str, ...] = ()
