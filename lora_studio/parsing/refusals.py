"""Pydantic's errors as sentences that people can act on: the setting by the name they know, what it takes,
what was given. Pydantic's wording appears nowhere else."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ModelWrapValidatorHandler, ValidationError, ValidationInfo, model_validator
from pydantic.fields import FieldInfo

from lora_studio.errors import ConfigError
from lora_studio.parsing.numbers import parse_decimal, shown

MOST_COMPARED = 100
MOST_REFUSED = 50
"""Problems of one ValidationError that are told."""

NO_NAMES: Mapping[str, str] = {}
KINDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
}
OWN = "Value error, "
"""Prefix that pydantic puts in front of messages of our validators."""


class Refusing(BaseModel):
    """A model that raises ConfigError where its values don't fit. `names` maps fields to what people call
    them, where that is not the field's own name; pydantic's `context` takes its place."""

    names: ClassVar[Mapping[str, str]] = NO_NAMES

    @model_validator(mode="wrap")
    @classmethod
    def _in_a_sentence(
        cls, values: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            raise refusal(error, cls, info.context or cls.names) from None


def refusal(
    error: ValidationError, model: type[BaseModel], names: Mapping[str, str] = NO_NAMES
) -> ConfigError:
    """The first problem of a ValidationError as ConfigError, with the others in it. `names` maps fields to
    what people call them, where that is not the field's own name."""
    problems = error.errors(include_url=False)[:MOST_REFUSED]
    first, *others = (refused_problem(problem, model, names) for problem in problems)
    first.others = tuple(others)
    return first


def refused_problem(
    problem: Mapping[str, Any], model: type[BaseModel], names: Mapping[str, str] = NO_NAMES
) -> ConfigError:
    """One of pydantic's problems as ConfigError; `names` as in `refusal`."""
    path = [str(part) for part in problem["loc"] if not isinstance(part, int)]
    field = ".".join(path)
    label = names.get(field) or ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return _unknown(path, model)
    info = _field(path, model)
    sentence, hint = wrong(problem, info)
    where = ".".join(str(part) for part in problem["loc"])
    return ConfigError(f"{label}{sentence}" if label else _upper(sentence.lstrip(": ")), hint, field=where)


def wrong(problem: Mapping[str, Any], info: FieldInfo | None) -> tuple[str, str]:
    """The rest of the sentence behind a field's name, and the hint."""
    given, kind = problem.get("input"), problem["type"]
    if kind == "missing":
        return " must be given.", ""
    if kind in {"value_error", "assertion_error"}:
        return f": {problem['msg'].removeprefix(OWN).rstrip('.')}{_got(problem)}.", ""
    if kind == "string_too_long":
        most = problem["ctx"]["max_length"]
        return f": {len(given or ''):,} characters are too many.", f"Use at most {most:,}."
    if kind == "string_too_short":
        return " is empty.", (info.description or "") if info else ""
    if kind == "string_pattern_mismatch":
        return f": this form is not accepted (got {shown(given)}).", (info.description or "") if info else ""
    if info is None or not (wanted := takes(info)):
        return f": this is not accepted{_got(problem)}.", (info.description or "") if info else ""
    hint = ""
    if kind == "multiple_of" and (number := parse_decimal(given)) is not None:
        step = problem["ctx"]["multiple_of"]
        hint = f"The nearest is {round(number / step) * step}."
    return f": {wanted} is needed{_got(problem)}.", hint


def takes(info: FieldInfo) -> str:
    """A field's values, as `a whole number from 1 to 200`; empty where that is more than a few words."""
    annotation: Any = info.annotation
    if get_origin(annotation) in {Union, types.UnionType}:
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(map(str, get_args(annotation)))}"
    kind = KINDS.get(annotation, "")
    limits = {
        name: value
        for item in info.metadata
        for name in ("ge", "gt", "le", "lt", "multiple_of")
        if (value := getattr(item, name, None)) is not None
    }
    return f"{kind}{_range(limits)}" if kind else ""


def _range(limits: Mapping[str, Any]) -> str:
    """Limits in words: ` from 1 to 200`, ` above 0, up to 1`, `, a multiple of 8`; empty without limits."""
    low = f" from {_plain(limits['ge'])}" if "ge" in limits else ""
    low = f" above {_plain(limits['gt'])}" if "gt" in limits else low
    high = f" to {_plain(limits['le'])}" if "le" in limits else ""
    high = f" to below {_plain(limits['lt'])}" if "lt" in limits else high
    if not low:
        high = high.replace(" to", " up to", 1)
    elif "gt" in limits:
        high = high.replace(" to", ", up to", 1)
    elif not high:
        high = " up"
    step = f", a multiple of {limits['multiple_of']}," if "multiple_of" in limits else ""
    return f"{low}{high}{step}"


def _plain(limit: float) -> str:
    return f"{int(limit):,}" if float(limit).is_integer() else f"{limit:g}"


def _got(problem: Mapping[str, Any]) -> str:
    given = problem.get("input")
    return "" if isinstance(given, Mapping | BaseModel) else f" (got {shown(given)})"


def _upper(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _field(path: list[str], model: Any) -> FieldInfo | None:
    """The field at the end of a path of names through nested models and tuples of models."""
    info: FieldInfo | None = None
    for name in path:
        fields = getattr(model, "model_fields", {})
        info = fields.get(name)
        model = info.annotation if info else None
        model = next((part for part in get_args(model) if hasattr(part, "model_fields")), model)
    return info


def _unknown(path: list[str], model: Any) -> ConfigError:
    name = path[-1]
    above = _field(path[:-1], model)
    fields = getattr(above.annotation if above else model, "model_fields", {})
    near = difflib.get_close_matches(name[:MOST_COMPARED], fields, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}?" if near else ""
    return ConfigError(f"There is no setting called {shown(name)}.", hint, field=name)
