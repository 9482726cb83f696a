"""A table of odd files: the outcome by each way in.

    python -m scripts.cases_table CASES [--loras FOLDER] [--out docs/cases.md]

CASES is a folder with `pictures/`, `settings/` (pictures that carry settings), `loras/` and ZIPs of pictures;
--loras is one more folder of LoRA files. Each goes through the page in Chromium, the API of a running app and
the command line, all on empty homes, and the answers become a table. `expected.py` says what is right.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import expect, sync_playwright

from lora_studio import __version__
from scripts.cases_table.api import ByApi
from scripts.cases_table.commands import ByCommands
from scripts.cases_table.expected import LORAS, PICTURES, REFUSED, SETS, SETTINGS, Answer, Expected
from scripts.cases_table.page import PATIENCE, ByPage
from tests.support.api_caller import caller
from tests.support.chromium import HOW_TO_GET_IT, find_chromium
from tests.support.serving import running_app

CHECKOUT = Path(__file__).resolve().parent.parent.parent
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
LONGEST = 260
ABOUT = """\
Each file goes in by the page (Chromium), the API and the command line; “as the page” stands for the same
words. Pictures and sets are uploaded; the command line plans (pictures, sets unpacked) and trains (sets).
Settings are read, by the command line drawn with as well. LoRA files are imported, or dropped into the
library's folder, and drawn with on the embedded base model by API and command line. The last column compares
with what a person would expect (`scripts/cases_table/expected.py`): the outcome, and what has to be said."""
ALWAYS = "1 picture only"
"""Beginning of the remark that every single picture gets."""


class Way(Protocol):
    def pictures(self, path: Path) -> Answer: ...

    def lora(self, path: Path) -> Answer: ...

    def settings(self, path: Path) -> Answer: ...


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Cases that go in through the same door. `draws` tells whether the page's answer is the last one."""

    title: str
    files: tuple[Path, ...]
    known: Mapping[str, Expected]
    key: Callable[[Path], str]
    ask: Callable[[Way, Path], Answer]
    draws: bool = True


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", type=Path)
    parser.add_argument("--loras", type=Path, help="one more folder of LoRA files")
    parser.add_argument("--out", type=Path, default=CHECKOUT / "docs" / "cases.md")
    options = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        sys.exit(HOW_TO_GET_IT)
    kinds = kinds_in(options.cases, options.loras)
    if not any(kind.files for kind in kinds):
        sys.exit(f"There are no cases in {options.cases}.")
    expect.set_options(timeout=PATIENCE)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with running_app(home / "page") as app, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            by_page = answers(kinds, ByPage(browser, app.address))
            browser.close()
        with running_app(home / "api") as app, caller(app) as client:
            by_api = answers(kinds, ByApi(client))
            bugs = client.bugs()
        by_commands = answers(kinds, ByCommands(home / "commands"))
    text, wrong = report(kinds, by_page, by_api, by_commands)
    options.out.write_text(text, "utf-8")
    print(f"{options.out}: {wrong} wrong", *bugs, sep="\n")
    return 1 if wrong or bugs else 0


def kinds_in(cases: Path, further: Path | None) -> list[Kind]:
    def files(folder: Path | None, pattern: str = "*") -> tuple[Path, ...]:
        return tuple(sorted(path for path in folder.glob(pattern) if path.is_file())) if folder else ()

    loras = (*files(cases / "loras"), *files(further))
    return [
        Kind(
            title="Pictures",
            files=files(cases / "pictures"),
            known=PICTURES,
            key=lambda path: path.name,
            ask=lambda way, path: way.pictures(path),
        ),
        Kind(
            title="Sets of pictures",
            files=files(cases, "*.zip"),
            known=SETS,
            key=lambda path: path.name,
            ask=lambda way, path: way.pictures(path),
        ),
        Kind(
            title="Settings in pictures",
            files=files(cases / "settings"),
            known=SETTINGS,
            key=lambda path: path.name,
            ask=lambda way, path: way.settings(path),
        ),
        Kind(
            title="LoRA files",
            files=loras,
            known=LORAS,
            key=lambda path: path.stem,
            ask=lambda way, path: way.lora(path),
            draws=False,
        ),
    ]


def answers(kinds: list[Kind], way: Way) -> dict[Path, Answer]:
    found: dict[Path, Answer] = {}
    for kind in kinds:
        for path in kind.files:
            try:
                found[path] = kind.ask(way, path)
            except (PlaywrightError, AssertionError, ValueError, KeyError, httpx.HTTPError) as error:
                found[path] = Answer(outcome="failed", said=(f"No answer: {error!r}"[:LONGEST],))
            print(type(way).__name__, path.name, found[path].outcome, found[path].text, flush=True)
    return found


def report(
    kinds: list[Kind],
    by_page: Mapping[Path, Answer],
    by_api: Mapping[Path, Answer],
    by_commands: Mapping[Path, Answer],
) -> tuple[str, int]:
    """The page of documentation, and how many answers are wrong."""
    lines = [
        "# What becomes of odd files",
        "",
        f"Made by `python -m scripts.cases_table` on {time.strftime('%Y-%m-%d')} with version {__version__}.",
        *ABOUT.splitlines(),
    ]
    wrong = 0
    for kind in filter(lambda kind: kind.files, kinds):
        lines += [
            "",
            f"## {kind.title}",
            "",
            "| case | what it is | page | API | command line | right |",
            "|---|---|---|---|---|---|",
        ]
        for path in kind.files:
            in_folder = f"{path.parent.name}/{kind.key(path)}"  # of two files of one name
            wanted = kind.known.get(in_folder) or kind.known.get(kind.key(path))
            ways = {"page": by_page[path], "API": by_api[path], "command line": by_commands[path]}
            faults = [] if wanted is None else list(_faults(wanted, ways, draws=kind.draws))
            wrong += len(faults)
            verdict = "" if wanted is None else "yes" if not faults else f"no: {', '.join(faults)}"
            page, api, command = ways.values()
            cells = [
                path.name,
                wanted.what if wanted else "",
                _words(page),
                _words(api, page),
                _words(command, page, api),
                verdict,
            ]
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n", wrong


def _faults(expected: Expected, ways: Mapping[str, Answer], *, draws: bool) -> Iterator[str]:
    for name, answer in ways.items():
        last = draws or name != "page"
        if not expected.agrees(answer, draws=last, by_command=name == "command line"):
            yield name


def _words(answer: Answer, *before: Answer) -> str:
    shown = _told(answer)
    same = next((name for one, name in zip(before, ("page", "API"), strict=False) if _told(one) == shown), "")
    return f"as the {same}" if same else shown


def _told(answer: Answer) -> str:
    sentences = [" ".join(sentence.split()) for sentence in answer.said if not sentence.startswith(ALWAYS)]
    begin = "refused:" if answer.outcome == REFUSED else f"{answer.result}." if answer.result else ""
    text = " ".join(filter(None, (begin, *dict.fromkeys(sentences))))
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rsplit(' ', 1)[0]} …"


if __name__ == "__main__":
    sys.exit(main())
