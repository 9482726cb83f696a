"""What every group of settings is made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def setting(
    default: Any, help_text: str, *, unit: str = "", basic: bool = False, local: bool = False, **limits: Any
) -> Any:
    """A field with its help, unit and limits. `basic` ones are shown without opening the advanced options;
    `local` ones name files of this machine or code to run, so a visitor of the page can't set them."""
    extra: dict[str, Any] = {"unit": unit, "basic": basic, "local": local}
    return Field(default, description=help_text, json_schema_extra=extra, **limits)


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
