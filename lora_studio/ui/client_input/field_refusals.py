"""Refusals at their fields: all settings at fault at once, each with its sentence below its own field.

A handler's error reaches the browser as Gradio's, which knows no fields. So it is kept for its session, and
the page, told that the handler failed, asks what was refused (`field_refusals.js`). Only what has no field is
a toast.
"""

from __future__ import annotations

import functools
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from lora_studio.access.visitor import visitor
from lora_studio.errors import ConfigError, DatasetError, ModelFileError, StoreError
from lora_studio.ui.client_input.validate import QUICK, as_words, guarded, quietly
from lora_studio.ui.widgets.html_templates import fill, panel

P = ParamSpec("P")
R = TypeVar("R")

SCRIPT = Path(__file__).with_name("field_refusals.js")
SESSIONS_KEPT = 100


@dataclass(frozen=True, kw_only=True)
class FieldPlace:
    """The place of a field on the page: the id of its element and its label. `folds` are the ids of what has
    to be opened first, from the outside. A field that holds no text, as a drop zone, is corrected once
    the element `watched` has another number of pictures."""

    element: str
    label: str
    folds: tuple[str, ...] = ()
    watched: str = ""


@dataclass(frozen=True, kw_only=True)
class FieldProblem:
    """A sentence for a field."""

    place: FieldPlace
    sentence: str


Places = Callable[[ConfigError], FieldPlace | None]
"""A function from a refusal to the place of its field; None for one without a field on the page."""


class RefusalList:
    """Refusals that are gathered while one part of a form after the other is read."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    @contextmanager
    def at(self, field: str = "") -> Iterator[None]:
        """Gather what the block refuses, under `field` if one is given; other errors pass."""
        try:
            yield
        except ConfigError as error:
            self._found += [_renamed(one, field or one.field) for one in error.each]
        except (DatasetError, ModelFileError, StoreError) as error:
            if not field:
                raise
            self._found.append(ConfigError(error.message, error.hint, field=field))

    def raise_all(self) -> None:
        """Raise what was gathered as one ConfigError."""
        if self._found:
            first, *others = self._found
            raise ConfigError(first.message, first.hint, field=first.field, others=others)


def _renamed(error: ConfigError, field: str) -> ConfigError:
    return ConfigError(error.message, error.hint, field=field)


class FieldRefusals:
    """The refusals of a button's handler, by its error's field; `places` says where the fields are."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._kept: OrderedDict[tuple[str, str], tuple[FieldProblem, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def guarded(self, action: Callable[P, R]) -> Callable[P, R]:
        """A handler, with a gr.Request among its arguments, as `validate.guarded` makes it, but that what it
        refuses goes to the fields."""

        @functools.wraps(action)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return action(*args, **kwargs)
            except ConfigError as error:
                request = next((one for one in args if isinstance(one, gr.Request)), None)
                raise self._kept_for(_key(request), error) from error

        return guarded(run)

    def take(self, request: gr.Request) -> str:
        """HTML of what was refused last in a session, which is forgotten with that."""
        with self._lock:
            problems = self._kept.pop(_key(request), ())
        return summary(problems)

    def listen(self, event: Any, shown: gr.HTML) -> None:
        """Show in `shown` what the handler of `event` refused, and nothing once it has done its work."""
        event.success(None, None, shown, js="() => ''", **QUICK)
        event.failure(quietly(self.take, str), None, shown, queue=False, **QUICK)

    def _kept_for(self, session: tuple[str, str], error: ConfigError) -> gr.Error:
        """The error for Gradio: one that is not seen where each problem has its field."""
        placed = [(one, self._places(one)) for one in error.each]
        problems = [FieldProblem(place=place, sentence=str(one)) for one, place in placed if place]
        problems.sort(key=lambda problem: len(problem.place.folds))  # what is in sight comes first
        with self._lock:
            self._kept[session] = tuple(problems)
            self._kept.move_to_end(session)
            if len(self._kept) > SESSIONS_KEPT:
                self._kept.popitem(last=False)
        rest = [one for one, place in placed if not place]
        words = as_words(" ".join(map(str, rest or [error])))
        return gr.Error(words, visible=bool(rest), print_exception=False)


def _key(request: gr.Request | None) -> tuple[str, str]:
    """Visitor and session of a call: the hash alone is a client's word, and many may send none."""
    return visitor().name, str((request and request.session_hash) or "")


def render(elem_id: str) -> gr.HTML:
    """Create the component that says, near the button, which fields are at fault, and leads to them."""
    return panel(elem_id=elem_id, actions=SCRIPT.read_text("utf-8"))


def summary(problems: Sequence[FieldProblem]) -> str:
    """HTML of the problems; empty without any."""
    # The number makes the same refusal once more another text: the page hears only of those.
    return fill("refused", problems=problems, number=secrets.token_hex(4)) if problems else ""


def in_labels(error: ConfigError, labels: Mapping[str, str]) -> ConfigError:
    """The refusals with the labels of the page in the place of the settings' own names; `labels` by name."""
    each = [_in_labels(one, labels) for one in error.each]
    return ConfigError(each[0].message, each[0].hint, field=each[0].field, others=each[1:])


def _in_labels(error: ConfigError, labels: Mapping[str, str]) -> ConfigError:
    label = labels.get(error.field)
    message = error.message.replace(f"{error.field}:", f"{label}:", 1) if label else error.message
    return ConfigError(labelled_sentence(message, labels), error.hint, field=error.field)


def labelled_sentence(sentence: str, labels: Mapping[str, str]) -> str:
    """A sentence with the labels of the page in the place of the settings' own names."""
    return " ".join(_labelled(word, labels) for word in sentence.split(" "))


def _labelled(word: str, labels: Mapping[str, str]) -> str:
    """A word of a sentence, or the label of the setting that it names: names that could be words of the
    language, like seed, stay."""
    name = word.strip("():,.;")
    return word.replace(name, f"“{labels[name]}”") if "_" in name and name in labels else word
