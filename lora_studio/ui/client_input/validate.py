"""Validation of client input, and errors as one sentence.

Gradio's own check of file inputs can be passed over with hand-written requests (Image and Gallery take any
server path that comes without a marker), so every handler that receives a file uses `safe_uploads`.
"""

from __future__ import annotations

import functools
import html
import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from lora_studio.access.visitor import visitor
from lora_studio.catalog import BASES
from lora_studio.errors import ConfigError, DatasetError, ModelFileError, StoreError, StudioError
from lora_studio.families.base_files.hub import INDEXES
from lora_studio.families.base_files.locate import HUB_ID
from lora_studio.grids.grid_cells import read_values
from lora_studio.grids.grid_request import GridRequest
from lora_studio.parsing.numbers import read_decimal, read_whole, shown
from lora_studio.parsing.slugs import SLUG
from lora_studio.settings import Settings
from lora_studio.ui.client_input.fault_log import FaultLog, one_line
from lora_studio.ui.client_input.upload_owners import sees_upload

logger = logging.getLogger(__name__)
faults = FaultLog(logger)

P = ParamSpec("P")
R = TypeVar("R")

RECORD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
CATALOG_SOURCES = frozenset(base.source for base in BASES.values() if base.source)
MOST_FILES = 1000
LONGEST_TEXT = 2000
MOST_NAMED = 10_000
"""Names of pictures of one call."""
MOST_SHOWN = 60
"""Characters of client input that a message repeats."""
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
"""Options of a listener that is no endpoint of the API."""
QUICK: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}
"""Options of one that is answered at once, too."""


def guarded(action: Callable[P, R]) -> Callable[P, R]:
    """A handler whose StudioErrors are shown as their sentence, and whose bugs are logged and shown without
    their text. Signature and docstring stay, Gradio reads them."""

    @functools.wraps(action)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return action(*args, **kwargs)
        except StudioError as error:
            raise gr.Error(as_words(str(error)), print_exception=False) from error
        except gr.Error:
            raise
        except Exception as error:
            number = secrets.token_hex(3)
            faults.tell(error, f"bug {number} in {getattr(action, '__name__', 'handler')}")
            sentence = (
                f"Something went wrong inside LoRA Studio. Its log has the details under the number {number}."
            )
            raise gr.Error(sentence, print_exception=False) from error

    return run


def as_words(text: str) -> str:
    """Text escaped for messages, in which Gradio renders markup (6.31)."""
    return html.escape(text, quote=False)


def safe_uploads(files: Any, settings: Settings) -> list[Path]:
    """The uploaded files in client input: paths or FileData, one or several. Only regular files inside the
    upload folder pass. Raises DatasetError."""
    if files is None:
        return []
    several = files if isinstance(files, list | tuple) else [files]
    if len(several) > MOST_FILES:
        raise DatasetError(f"{len(several)} files are too many at once.", f"Send at most {MOST_FILES}.")
    return [_safe_upload(file, settings.uploads) for file in several]


def _safe_upload(file: Any, folder: Path) -> Path:
    given = file.get("path") if isinstance(file, Mapping) else getattr(file, "path", file)
    refused = DatasetError("A file was not accepted.", "Upload it through the page or the client.")
    if not isinstance(given, str | os.PathLike) or "\x00" in str(given):
        raise refused
    try:
        path = Path(given).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        raise refused from None
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise refused
    if not visitor().sees_all and not sees_upload(path, visitor(), folder):
        raise refused
    return path


def safe_id(given: Any, what: str) -> str:
    """An id in the form of our records. Raises StoreError for anything else, before it gets near a path."""
    if not isinstance(given, str) or not RECORD_ID.fullmatch(given):
        raise StoreError(f"There is no such {what}.", "It may have been removed; reload the page.")
    return given


def safe_slug(given: Any) -> str:
    if not isinstance(given, str) or not SLUG.fullmatch(given):
        raise StoreError("There is no such LoRA.", "It may have been removed; reload the page.")
    return given


def chosen_lora(given: Any) -> str:
    """The slug of the LoRA that is chosen on the page. Raises StoreError where none is."""
    if not given:
        raise StoreError("No LoRA is chosen.", "Click one on the left.")
    return safe_slug(given)


def shown_set(given: Any) -> str:
    """The id of the set that is on the page. Raises DatasetError where none is, StoreError."""
    if not given:
        raise DatasetError("There are no pictures.", "Add some first.")
    return safe_id(given, "set of pictures")


def base_names(settings: Settings) -> list[tuple[str, str]]:
    """(title, name) of the bases to choose from: the catalog, then the models in models/base."""
    choices = [(base.title, base.name) for base in BASES.values()]
    if settings.bases.is_dir():
        found = sorted(path for path in settings.bases.iterdir() if _is_base(path))
        choices += [(path.stem if path.is_file() else path.name, path.name) for path in found]
    return choices


def _is_base(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return path.suffix == ".safetensors" or any((path / index).is_file() for index in INDEXES)


def takes_hub_ids(settings: Settings) -> bool:
    """Whether clients may name any base of the Hub: only the owner on the own machine."""
    return not (settings.on_space or settings.guests)


def safe_base(given: Any, settings: Settings) -> str:
    """A base by a name from `base_names` or the catalog's hub id, or, on a machine that asks for no password,
    any hub id: it is fetched with the owner's token. Never a path: a visitor must not be able to make the
    server read one, nor learn what there is. Raises ModelFileError."""
    name = given.strip() if isinstance(given, str) else ""
    if name in {choice for _, choice in base_names(settings)} or name in CATALOG_SOURCES:
        return name
    if takes_hub_ids(settings) and HUB_ID.fullmatch(name) and not _could_be_local(name, settings):
        return name
    raise ModelFileError(
        f"There is no base model {name[:100]!r} here." if name else "No base model is chosen.",
        f"Choose one of: {', '.join(choice for _, choice in base_names(settings))}. "
        "A folder or a .safetensors file becomes a choice when it lies in models/base.",
    )


def safe_grid(grid: GridRequest, settings: Settings) -> GridRequest:
    """The grid, with its axes' bases checked by `safe_base`. Raises ModelFileError, ConfigError."""
    for axis in grid.axes:
        for value in read_values(axis) if axis and axis.name == "base" else ():
            safe_base(value, settings)
    return grid


def _could_be_local(name: str, settings: Settings) -> bool:
    return ".." in name or Path(name).exists() or (settings.bases / name).exists()


def text(given: Any, field: str, *, longest: int = LONGEST_TEXT) -> str:
    """A text field; empty for None. Raises ConfigError for other types, too long text, and text that can't be
    stored: JSON may hold halves of characters that no file can."""
    if given is None:
        return ""
    if not isinstance(given, str):
        raise ConfigError(f"{field}: a text is needed (got {shown(given)}).", field=field)
    if len(given) > longest:
        raise ConfigError(f"{field}: {len(given)} characters are too many.", f"Send at most {longest}.")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{field}: a character in it can't be stored.", "Write it anew.") from None
    return given


def yes_or_no(given: Any, field: str) -> bool:
    """A switch. Raises ConfigError for other types: "no" would count as yes."""
    if not isinstance(given, bool):
        raise ConfigError(f"{field}: true or false is needed (got {shown(given)}).", field=field)
    return given


def names(given: Any, field: str) -> list[str]:
    """A list of short texts; an empty one for None. Raises ConfigError."""
    listed = [] if given is None else given
    if not isinstance(listed, list) or len(listed) > MOST_NAMED:
        raise ConfigError(f"{field}: a list of up to {MOST_NAMED:,} names is needed.", field=field)
    return [text(name, field) for name in listed]


def mapping(given: Any, field: str) -> Mapping[str, Any]:
    """Settings by name; none for None. Raises ConfigError."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{field}: a mapping of settings is needed.", field=field)
    for name in given:
        if len(name) > MOST_SHOWN:
            raise ConfigError(f"{field}: there is no setting called {shown(name)}.", field=field)
    try:
        json.dumps(given, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{field}: a character in it can't be stored.", "Write it anew.") from None
    except (RecursionError, ValueError):  # the latter for numbers of more than 4,300 digits
        raise ConfigError(f"{field}: something in it is too deep or too long.", field=field) from None
    return given


def whole(given: Any, field: str) -> int | None:
    """A whole number as typed; None when the field is empty. Raises ConfigError."""
    return None if is_blank(given) else read_whole(_with_point(given), field)


def decimal(given: Any, field: str) -> float | None:
    """A finite number as typed, with a point or a comma; None when the field is empty. Raises ConfigError."""
    return None if is_blank(given) else read_decimal(_with_point(given), field)


def is_blank(given: Any) -> bool:
    """Whether a field was left empty."""
    return given is None or (isinstance(given, str) and not given.strip())


def _with_point(given: Any) -> Any:
    return given.replace(",", ".") if isinstance(given, str) else given


def quietly(look: Callable[P, R], otherwise: Callable[[], R]) -> Callable[P, R]:
    """A handler for events without a click: a failure is logged and leaves the page as it is, since a message
    a second helps nobody."""

    @functools.wraps(look)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return look(*args, **kwargs)
        except StudioError as error:  # foreseen: what was shown may be gone
            logger.warning("the page was not brought up to date by %s: %s", look.__name__, one_line(error))
            return otherwise()
        except Exception as error:
            faults.tell(error, f"the page could not be brought up to date by {look.__name__}")
            return otherwise()

    return run
