"""The repairs that are asked for, in sd-scripts' words where it has them (networks/resize_lora.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from lora_studio.errors import ConfigError
from lora_studio.lora.file.spellings import SPELLINGS
from lora_studio.parsing.numbers import read_decimal, read_whole, shown

PRECISIONS = ("float", "fp16", "bf16")
FOLDED, WRITTEN = "folded", "written"
ALPHAS = (FOLDED, WRITTEN)
SV_RATIO, SV_FRO, SV_CUMULATIVE = "sv_ratio", "sv_fro", "sv_cumulative"
METHODS = (SV_RATIO, SV_FRO, SV_CUMULATIVE)
CHOICES: Mapping[str, tuple[str, ...]] = {
    "spelling": SPELLINGS,
    "save_precision": PRECISIONS,
    "alpha": ALPHAS,
    "dynamic_method": METHODS,
}
MOST_RANK, MOST_PARAM = 4096, 1e6
MOST_MERGE_RATIO, MOST_MERGED = 100.0, 16
"""Ratios in a merge go from its negative to it."""
HELP: Mapping[str, str] = {
    "spelling": "the names of the layers: kohya, diffusers or comfyui",
    "save_precision": "the number format: float, fp16 or bf16",
    "alpha": "folded into the tensors, or written as a tensor of each layer",
    "new_rank": "resize to this rank by SVD; with dynamic_method, the largest rank",
    "dynamic_method": "a rank for each layer: sv_ratio keeps singular values above the largest divided by "
    "dynamic_param, sv_fro keeps this share of the Frobenius norm, sv_cumulative this share of their sum",
    "dynamic_param": "the number of dynamic_method",
    "strip_private": "leave out metadata that tells folders, names, machines or captions",
    "drop_broken": "leave out layers with NaN or infinite numbers",
}


@dataclass(frozen=True, kw_only=True)
class RepairRequest:
    """Repairs of a file; see HELP. Empty values leave things as they are."""

    spelling: str = ""
    save_precision: str = ""
    alpha: str = ""
    new_rank: int = 0
    dynamic_method: str = ""
    dynamic_param: float = 0.0
    strip_private: bool = False
    drop_broken: bool = False

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> RepairRequest:
        """A request from a stranger's values, numbers and flags as texts too. Raises ConfigError."""
        names = {field.name for field in fields(cls)}
        for name in values:
            if name not in names:
                raise ConfigError(
                    f"There is no repair {shown(name)}.", f"Choose of: {', '.join(HELP)}.", field="fix"
                )
        request = cls(**{name: _checked(name, value) for name, value in values.items()})
        request.check()
        return request

    @property
    def resizes(self) -> bool:
        return bool(self.new_rank or self.dynamic_method)

    def check(self) -> None:
        """Refuse values that don't go together. Raises ConfigError."""
        if bool(self.dynamic_method) != bool(self.dynamic_param):
            raise ConfigError(
                "dynamic_method and dynamic_param belong together.",
                "Give both, or new_rank alone.",
                field="dynamic_param",
            )
        if self.dynamic_method == SV_RATIO and self.dynamic_param < 1:
            raise ConfigError("dynamic_param: sv_ratio needs at least 1.", field="dynamic_param")
        if self.dynamic_method in (SV_FRO, SV_CUMULATIVE) and self.dynamic_param > 1:
            raise ConfigError(
                f"dynamic_param: {self.dynamic_method} needs a share up to 1.", field="dynamic_param"
            )

    def words(self) -> str:
        """The request as it would be typed."""
        changed = {field.name: getattr(self, field.name) for field in fields(self)}
        return " ".join(f"{name}={value}" for name, value in changed.items() if value)


def _checked(name: str, value: Any) -> Any:
    if name in ("strip_private", "drop_broken"):
        if value not in (True, False, "true", "false", "True", "False"):
            raise ConfigError(f"{name}: true or false is needed (got {shown(value)}).", field=name)
        return value in (True, "true", "True")
    if name == "new_rank":
        return read_whole(value, name, least=0, most=MOST_RANK)
    if name == "dynamic_param":
        return read_decimal(value, name, least=0.0, most=MOST_PARAM)
    if value in ("", None):
        return ""
    if not isinstance(value, str) or value not in CHOICES[name]:
        raise ConfigError(
            f"{name}: choose one of {', '.join(CHOICES[name])} (got {shown(value)}).", field=name
        )
    return value


def check_merged(count: int) -> None:
    """Refuse too few or too many files for one merge. Raises ConfigError."""
    if not 2 <= count <= MOST_MERGED:
        raise ConfigError(f"2 to {MOST_MERGED} files are merged.", "Name as many.", field="merge")
