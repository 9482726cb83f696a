"""An argument TOML on the disk, with the prompt file that it may name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lora_studio.errors import ConfigError
from lora_studio.kohya_config.reading import KohyaOptions, read_options
from lora_studio.kohya_config.toml import read_toml
from lora_studio.kohya_config.writing import flatten


def read_file(path: Path, *, ignore_unknown: bool = False) -> KohyaOptions:
    """Read an argument TOML and the prompts of its `sample_prompts`. Paths in it are, as in sd-scripts, from
    the working folder. Raises ConfigError."""
    given, own = flatten(read_toml(_text(path, "Check --kohya-config."), path.name))
    read = {**given}
    notes: tuple[str, ...] = ()
    if isinstance(given.get("sample_prompts"), str) and given["sample_prompts"]:
        lines = _prompt_lines(Path(given["sample_prompts"]).expanduser())
        prompts = [prompt_only(line) for line in lines]
        read["sample_prompts"] = prompts
        if prompts != lines:
            notes = ("The previews take the prompts of sample_prompts without their flags.",)
    options = read_options(read, own, ignore_unknown=ignore_unknown)
    return KohyaOptions(
        values=options.values,
        given=given,
        notes=(*options.notes, *notes),
        not_built=options.not_built,
        in_epochs=options.in_epochs,
        shares=options.shares,
    )


def prompt_only(line: str) -> str:
    """A prompt without sd-scripts' flags (`--n negative --w 512 --d 1`)."""
    return re.split(r"\s--[a-z]+\b", line, maxsplit=1)[0].strip()


def _prompt_lines(path: Path) -> list[str]:
    """One prompt a line, or a list in TOML or JSON, as sd-scripts reads them."""
    text = _text(path, "sample_prompts names the file with the prompts of the previews.")
    if path.suffix.lower() == ".toml":
        data: Any = read_toml(text, path.name).get("prompt", {}).get("subset", [])
    elif path.suffix.lower() == ".json":
        try:
            data = json.loads(text)
        except ValueError:
            raise ConfigError(f"{path.name} is not JSON.", field="sample_prompts") from None
    else:
        lines = (line.strip() for line in text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]
    if not isinstance(data, list):
        raise ConfigError(f"{path.name} holds no list of prompts.", field="sample_prompts")
    found = (one.get("prompt", "") if isinstance(one, dict) else str(one) for one in data)
    return [prompt for prompt in map(str, found) if prompt]


def _text(path: Path, hint: str) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"The file {path} can't be read: {error.strerror}.", hint) from None
    except UnicodeDecodeError:
        raise ConfigError(f"The file {path.name} is not UTF-8 text.", hint) from None
