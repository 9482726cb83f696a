"""The base class of groups of settings, and the field they are made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

MOST_ENTRIES = 2_000
LONGEST_TEXT = 20_000


def setting(
    default: Any,
    help_text: str,
    *,
    unit: str = "",
    basic: bool = False,
    local: bool = False,
    choices: tuple[str, ...] = (),
    **limits: Any,
) -> Any:
    """A pydantic field with help, unit and limits. `basic` ones are shown without opening the advanced
    options; `local` ones name files of this machine or code to run, so a visitor of the page can't set them.
    `choices` are the known values of a text that may also be something else, which again a visitor can't
    set."""
    extra: dict[str, Any] = {"unit": unit, "basic": basic, "local": local, "choices": list(choices)}
    return Field(default, description=help_text, json_schema_extra=extra, **limits)


class Group(BaseModel):
    """A frozen pydantic model that refuses unknown names, infinities and NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _fits_a_file(cls, value: Any) -> Any:
        """Refuse what an argument file can't hold."""
        texts = value if isinstance(value, tuple) else (value,)
        if len(texts) > MOST_ENTRIES:
            raise ValueError(f"there are more than {MOST_ENTRIES} values")
        if any(isinstance(text, str) and (len(text) > LONGEST_TEXT or "\0" in text) for text in texts):
            raise ValueError(f"the text is longer than {LONGEST_TEXT} letters or holds a zero byte")
        return value
