"""The words of a check of the installation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report. `advice` says what to do about a problem. What is `off` is none: it was not
    switched on, or the studio works without it; its advice says how it would come on."""

    what: str
    said: str
    advice: str = ""
    off: bool = False
    is_package: bool = False

    @property
    def state(self) -> Literal["ok", "off", "problem"]:
        if self.off:
            return "off"
        return "problem" if self.advice else "ok"

    @property
    def ok(self) -> bool:
        return self.state != "problem"
