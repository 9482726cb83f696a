"""The command line: plan and train on pictures, generate --settings-of, list and generate with LoRAs that are
dropped into the library's folder."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

from lora_studio.cli.main import main
from lora_studio.lora.names import slug_from
from scripts.cases_table.expected import KEPT, REFUSED, USED, Answer

QUICK = ("--set", "sample_every_n_steps=0")
DIFFERENT = "two answers"
SAID = re.compile(r"(?:Left out|Warning|WARNING|Note|note|error): (.*)")
COUNT = re.compile(r"\d+ pictures?, \d+ with a caption")
PASSED = re.compile(
    r"The trigger word |\d+ regularisation pictures|You will call it|.* is closed to others now"
)
"""Sentences that have nothing to do with a case."""


class ByCommands:
    """`home` is an empty folder, which takes the state."""

    def __init__(self, home: Path) -> None:
        self._home, self._loras = home, home / "models" / "lora"
        self._errors = io.StringIO()  # one for all: the log's handler keeps the first that it meets
        os.environ |= {"LORA_STUDIO_HOME": str(home / "home"), "LORA_STUDIO_MODELS": str(home / "models")}

    def pictures(self, path: Path) -> Answer:
        """A set is trained from its ZIP and planned from its folder; both have to find the same pictures."""
        if path.suffix != ".zip":
            return self._take("plan", path)
        folder = self._home / "folders" / path.stem
        with zipfile.ZipFile(path) as packed:
            packed.extractall(folder)
        trained, planned = self._take("train", path), self._take("plan", folder)
        if (trained.outcome, trained.result) == (planned.outcome, planned.result):
            return trained
        return Answer(outcome=DIFFERENT, said=(f"train: {trained.text}", f"plan: {planned.text}"))

    def lora(self, path: Path) -> Answer:
        shutil.rmtree(self._loras, ignore_errors=True)
        self._loras.mkdir(parents=True)
        shutil.copy(path, self._loras / path.name)
        code, out, sentences = self._run("list", "--json")
        found = (
            next((one for one in json.loads(out)["loras"] if one["slug"] == slug_from(path.stem)), None)
            if not code
            else None
        )
        if found is None:
            return Answer(outcome=REFUSED, said=sentences)
        use = ("--lora", str(found["slug"]), "--prompt", "a dog", "--base", "starter", "--steps", "1")
        code, _, sentences = self._run("generate", *use)
        return Answer(outcome=KEPT if code else USED, result=f"“{found['title']}”", said=sentences)

    def settings(self, path: Path) -> Answer:
        quick = ("--steps", "1", "--size", "64x64", "--base", "starter", "--json")
        code, out, sentences = self._run("generate", "--settings-of", str(path), *quick)
        if code:
            return Answer(outcome=REFUSED, said=sentences)
        (drawn,) = json.loads(out)["images"]
        return Answer(outcome=USED, result=f"drawn with seed {drawn['seed']}", said=sentences)

    def _take(self, command: str, path: Path) -> Answer:
        what = ("--images", str(path), "--kind", "object", "--name", "Case", "--steps", "1", *QUICK)
        code, _, sentences = self._run(command, *what)
        count = next((found[0] for line in sentences if (found := COUNT.match(line))), "")
        return Answer(
            outcome=REFUSED if code else USED,
            result=count,
            said=tuple(line for line in sentences if not COUNT.match(line)),
        )

    def _run(self, *arguments: str) -> tuple[int, str, tuple[str, ...]]:
        """Run a command in this process, by its entry point: torch is loaded once for all cases."""
        printed = io.StringIO()
        self._errors.seek(0)
        self._errors.truncate()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(self._errors):
            code = main(list(arguments))
        lines = [line.strip() for line in self._errors.getvalue().splitlines()]
        found = [match[1] if (match := SAID.match(line)) else line for line in lines if _counts(line)]
        return code, printed.getvalue(), tuple(line for line in found if not PASSED.match(line))


def _counts(line: str) -> bool:
    return bool(SAID.match(line) or COUNT.match(line))
