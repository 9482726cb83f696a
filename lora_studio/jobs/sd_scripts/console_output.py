"""The console of sd-scripts, parsed: progress bars, epochs, saved files, and the reason of a failure."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from lora_studio.errors import DatasetError, OutOfMemory, StudioError
from lora_studio.parsing.numbers import NUMBER

BAR = re.compile(
    r"\s*+(?:(?P<name>[^|%]{0,200}?):\s*+)?\d{1,3}+%\|[^|]*+\|\s*+(?P<done>\d{1,9}+)/(?P<total>\d{1,9}+)"
    r"\s\[(?P<facts>[^\]]*+)"
)
RATE = re.compile(rf"(?<![\d.])({NUMBER})(s/it|it/s)")
LOSS = re.compile(r"avr_loss=([^,\s]+)")
EPOCH = re.compile(r"\s*+epoch (\d{1,9}+)/(\d{1,9}+)\s*+")
SAVING = re.compile(r"\s*+saving checkpoint: (.++)")
REMOVING = re.compile(r"\s*+removing old checkpoint: (.++)")
NO_DATA = "No data found"
ERROR = re.compile(
    r"(?P<kind>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Failure))(?::\s*+(?P<said>.*))?"
)
USAGE = re.compile(r"\S\.py: error: (.+)")
OF_LAUNCHERS = ("CalledProcessError", "ChildFailedError")
MEMORY = re.compile(
    r"out of memory|OutOfMemory|not enough memory|can't allocate memory|MemoryError", re.IGNORECASE
)
LONGEST = 300
LONGEST_READ = 2000
LOG_NAME = "sd-scripts.log"
SEE_LOG = f"Its whole output is in the job's {LOG_NAME}."
LESS_MEMORY = "Lower resolution or train_batch_size, or switch gradient_checkpointing on."


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A progress bar; `name` is `steps` for the training itself and may be empty. `loss` is the mean loss in
    the line, `seconds` the time of one unit, both None where the line has none."""

    name: str
    done: int
    total: int
    loss: float | None = None
    seconds: float | None = None

    @property
    def trains(self) -> bool:
        return self.name == "steps"


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The beginning of an epoch, `number` of `total`."""

    number: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Saving:
    """A file that is about to be written, or with `removed` was deleted."""

    path: str
    removed: bool = False


def read_line(line: str) -> Bar | Epoch | Saving | None:
    """The facts in one line, or in one state of a redrawn line; None when it holds none."""
    line = line[:LONGEST_READ].strip()
    if match := BAR.match(line):
        return _bar(match)
    if match := EPOCH.fullmatch(line):
        return Epoch(number=int(match[1]), total=int(match[2]))
    if match := SAVING.fullmatch(line):
        return Saving(path=match[1])
    if match := REMOVING.fullmatch(line):
        return Saving(path=match[1], removed=True)
    return None


def explain(lines: Sequence[str], code: int) -> StudioError:
    """One sentence on why sd-scripts ended with `code` and left no LoRA; `lines` are its last ones."""
    last_line = next((line.strip() for line in reversed(lines) if line.strip()), "")
    error = _last_error(lines)
    usage = next((match for line in reversed(lines) if (match := USAGE.search(line))), None)
    if MEMORY.search(error or last_line):
        return OutOfMemory("The memory was not enough for sd-scripts.", LESS_MEMORY)
    if any(NO_DATA in line for line in lines):
        return DatasetError("sd-scripts found no pictures.", SEE_LOG)
    if error and error.startswith("ModuleNotFoundError"):
        return StudioError(
            f"sd-scripts can't run: {error.partition(': ')[2] or error}.",
            "Let LORA_STUDIO_SD_SCRIPTS_PYTHON name the Python of the environment that it is installed in.",
        )
    if error:
        return StudioError(f"sd-scripts broke off: {_sentence(error)}", SEE_LOG)
    if usage:
        return StudioError(f"sd-scripts refused its options: {_sentence(usage[1])}", SEE_LOG)
    if code < 0:
        return StudioError(f"sd-scripts was ended by {_signal(-code)}.", f"{LESS_MEMORY} {SEE_LOG}")
    ended = f"sd-scripts ended with code {code}" if code else "sd-scripts ended without a LoRA"
    return StudioError(f"{ended}{f' and said last: {_sentence(last_line)}' if last_line else '.'}", SEE_LOG)


def _bar(match: re.Match[str]) -> Bar:
    facts = match["facts"]
    loss, rate = LOSS.search(facts), RATE.search(facts)
    seconds = None
    if rate and float(rate[1]) > 0:
        seconds = float(rate[1]) if rate[2] == "s/it" else 1 / float(rate[1])
    return Bar(
        name=(match["name"] or "").strip(),
        done=int(match["done"]),
        total=int(match["total"]),
        loss=_number(loss[1]) if loss else None,
        seconds=seconds,
    )


def _number(text: str) -> float | None:
    """A number, `nan` included; None for garbage in the pipe."""
    try:
        return float(text)
    except ValueError:
        return None


def _last_error(lines: Sequence[str]) -> str:
    """The last line of the last traceback that is no launcher's; empty when there is none."""
    found = ""
    inside = False
    for line in lines:
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif inside and (match := ERROR.fullmatch(line.strip())) and not line.startswith(" "):
            inside = False
            if match["kind"].split(".")[-1] not in OF_LAUNCHERS:
                kind = match["kind"].split(".")[-1]
                found = f"{kind}: {match['said']}" if match["said"] else kind
    return found


def _sentence(text: str) -> str:
    text = " ".join(text.split())[:LONGEST].rstrip(" .")
    return f"{text}."


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
