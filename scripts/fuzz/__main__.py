"""Damaged and hostile inputs for all that reads strangers' files and texts: python -m scripts.fuzz --help

For each kind: how many inputs, how many were used and how many refused in a sentence, the slowest answer in
the processor's seconds, and how many ended in anything but a sentence. Those, and the slowest, are kept.
With `--engine atheris` (pip install atheris) coverage guides the inputs; otherwise a seed repeats them.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from lora_studio.errors import StudioError
from scripts.fuzz.inputs import LONGEST, damaged
from scripts.fuzz.targets import TARGETS, Target, empty

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(kw_only=True)
class Tally:
    """`slowest` in seconds of this thread's processor time."""

    inputs: int = 0
    used: int = 0
    refused: int = 0
    crashes: int = 0
    slowest: float = 0.0


class Trial:
    """Runs one target; keeps the inputs that crash it and the slowest one in `kept`."""

    def __init__(self, name: str, kept: Path) -> None:
        self.name, self.target, self.tally, self._kept = name, TARGETS[name], Tally(), kept
        self._folder = Path(tempfile.mkdtemp(prefix="fuzz-"))

    def feed(self, data: bytes) -> None:
        empty(self._folder)
        self.tally.inputs += 1
        begun = time.thread_time()
        try:
            self.target.run(data, self._folder)
            self.tally.used += 1
        except StudioError:
            self.tally.refused += 1
        except Exception:  # noqa: BLE001 -- what this program is there to find
            self.tally.crashes += 1
            self._keep(f"crash-{self.tally.crashes}", data)
            (self._kept / f"{self._file}-crash-{self.tally.crashes}.txt").write_text(
                traceback.format_exc(), "utf-8"
            )
        seconds = time.thread_time() - begun
        if seconds > self.tally.slowest:
            self.tally.slowest = seconds
            self._keep("slowest", data)

    @property
    def _file(self) -> str:
        return self.name.replace(" ", "-")

    def _keep(self, what: str, data: bytes) -> None:
        if self.tally.crashes <= 20:
            (self._kept / f"{self._file}-{what}").write_bytes(data)

    def write(self) -> None:
        (self._kept / f"{self._file}.json").write_text(json.dumps(asdict(self.tally)), "utf-8")


def mutate(trial: Trial, count: int, seed: int) -> None:
    drawn = random.Random(f"{seed} {trial.name}")
    target = trial.target
    for data in target.seeds:
        trial.feed(data)
    while trial.tally.inputs < count:
        trial.feed(damaged(drawn.choice(target.seeds), target.words, target.seeds, drawn))
    trial.write()


def guided(trial: Trial, count: int, seed: int) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris  # type: ignore[import-not-found]

    corpus = Path(tempfile.mkdtemp(prefix="fuzz-corpus-"))
    for number, data in enumerate(trial.target.seeds):
        (corpus / str(number)).write_bytes(data)
    words = corpus.with_suffix(".dict")
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in trial.target.words if word), "ascii")

    def one(data: bytes) -> None:
        trial.feed(data)
        if trial.tally.inputs % 500 == 0 or trial.tally.inputs >= count - 10:
            trial.write()

    options = [f"-runs={count}", f"-seed={seed}", f"-max_len={LONGEST}", f"-dict={words}", "-timeout=120"]
    atheris.Setup([sys.argv[0], *options, "-verbosity=0", "-rss_limit_mb=4096", str(corpus)], one)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def run_one(name: str, arguments: argparse.Namespace, kept: Path) -> None:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    if arguments.engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["lora_studio"]):
            _warm(TARGETS[name])
        guided(Trial(name, kept), arguments.count, arguments.seed)
    _warm(TARGETS[name])
    mutate(Trial(name, kept), arguments.count, arguments.seed)


def _warm(target: Target) -> None:
    """Imports are no answer's time."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    for data in target.seeds:
        empty(folder)
        try:
            target.run(data, folder)
        except StudioError:
            continue


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=3000, help="inputs of each kind (default 3000)")
    parser.add_argument("--only", choices=TARGETS, action="append", help="this kind; can be given again")
    parser.add_argument("--engine", choices=("mutations", "atheris"), default="mutations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzzed"), help="folder for what was found")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.keep.mkdir(parents=True, exist_ok=True)
    if arguments.here:
        run_one(arguments.only[-1], arguments, arguments.keep.resolve())
        return 0
    print(f"{'kind':22}{'inputs':>9}{'used':>9}{'refused':>9}{'crashes':>9}{'slowest':>11}", flush=True)
    bad = 0
    for name in arguments.only or TARGETS:
        command = [sys.executable, "-m", "scripts.fuzz", *sys.argv[1:], "--here", "--only", name]
        subprocess.run(
            command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
        written = arguments.keep / f"{name.replace(' ', '-')}.json"
        tally = Tally(**json.loads(written.read_text("utf-8"))) if written.exists() else Tally(crashes=1)
        bad += tally.crashes
        counts = (tally.inputs, tally.used, tally.refused, tally.crashes)
        print(f"{name:22}{''.join(f'{n:9}' for n in counts)}{tally.slowest * 1000:8.1f} ms", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
