"""A studio under eight people: python -m scripts.soak --help

Starts app.py with a login, and lets clients, some of whom share an account, do together so many generations,
trainings and reloads within so many minutes. Some stop, pause, delete, reload while they wait, drop their
connection. Meanwhile the owner looks four times a second. What must hold: no accepted job is lost, and each
ends as its files say; no status follows one that it can't follow, and no progress falls; first come is first
served; nothing is wrong in the log; after the first fifth of the work and at the end, both times idle, the
process takes about the same memory and has the same threads and files open; nothing is left on the disk. Exit
code 1 when something did not hold.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from scripts.soak.browser import Browser
from scripts.soak.client import DRAWING, GENERATE, RELOAD, TRAIN, TRAINING, Client, Deed, Tally
from scripts.soak.observed import Observer
from scripts.soak.remains import leftovers, lost_pictures, lost_trainings
from scripts.soak.studio_process import CHECKOUT, OWNER, PATIENCE, Idle, StudioProcess, running_studio

PEOPLE = ("ada", "bob", "cleo", "dan", "eve")
"""Clients take them in turn, so the first ones have several pages."""
WARM_UP = 0.2
"""The share of the work before memory is looked at for the first time."""
GROWTH, MORE_FILES = 0.10, 8
REST_SECONDS = 3.0


def parse(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="over which the work is spread")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--generations", type=int, default=200)
    parser.add_argument("--trainings", type=int, default=30)
    parser.add_argument("--reloads", type=int, default=20)
    parser.add_argument("--steps", type=int, default=40, help="of each training")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--no-memory", action="store_true", help="print memory's growth, and let it be")
    return parser.parse_args(given)


def plan(options: argparse.Namespace) -> list[list[Deed]]:
    """The deeds of each client in the order of their times, in both parts of the run."""
    chance = random.Random(options.seed)
    kinds = [
        *((GENERATE, chance.choice(DRAWING)) for _ in range(options.generations)),
        *((TRAIN, chance.choice(TRAINING)) for _ in range(options.trainings)),
        *((RELOAD, "") for _ in range(options.reloads)),
    ]
    chance.shuffle(kinds)
    deeds: list[list[Deed]] = [[] for _ in range(options.clients)]
    for number, (kind, way) in enumerate(kinds):
        at = number / len(kinds) * options.minutes * 60
        deeds[chance.randrange(options.clients)].append(Deed(kind=kind, at=at, way=way, number=number))
    return deeds


def work(clients: Sequence[Client], deeds: Sequence[Sequence[Deed]], begun: float) -> None:
    """Let all clients do their deeds at the same time, and wait for them."""
    threads = [
        threading.Thread(target=client.run, args=(todo, begun), name=f"client {client.number}")
        for client, todo in zip(clients, deeds, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def settled(studio: StudioProcess, observer: Observer) -> Idle:
    """The process once all has ended. Raises AssertionError when something goes on for ever."""
    give_up = time.monotonic() + PATIENCE
    while not observer.look():
        assert time.monotonic() < give_up, "something does not end"
        time.sleep(0.5)
    time.sleep(REST_SECONDS)
    return studio.idle()


def soak(options: argparse.Namespace, folder: Path) -> list[str]:
    """Do all of it. Returns sentences on what did not hold."""
    tally = Tally()
    pictures = sorted((CHECKOUT / "examples" / "ink").glob("*.png"))
    with running_studio(folder) as studio, ExitStack() as open_pages:
        studio.add_people([*PEOPLE[: options.clients]])
        clients = [
            Client(
                number=number,
                browser=Browser(address=studio.address, name=PEOPLE[number % len(PEOPLE)]),
                tally=tally,
                pictures=pictures,
                steps=options.steps,
                random=random.Random(f"{options.seed} {number}"),
            )
            for number in range(options.clients)
        ]
        owner = Browser(address=studio.address, name=OWNER)
        for browser in (*(client.browser for client in clients), owner):
            open_pages.enter_context(closing(browser))
        for client in clients:
            client.open()
        owner.log_in()
        observer = Observer(owner)
        deeds, begun = plan(options), time.monotonic()
        parts = [[[*todo[: int(len(todo) * WARM_UP)]] for todo in deeds]]
        parts.append([todo[len(first) :] for todo, first in zip(deeds, parts[0], strict=True)])
        idle = []
        for part in parts:
            with observer.looking():
                work(clients, part, begun)
            idle.append(settled(studio, observer))
        seconds = time.monotonic() - begun
        wrong = [
            *(*tally.wrong, *observer.wrong, *(one for client in clients for one in client.watch.wrong)),
            *(*lost_trainings(studio, observer, tally), *lost_pictures(studio, observer, tally)),
            *grown(idle[0], idle[1], memory=not options.no_memory),
        ]
        report(tally, observer, idle, seconds)
        if code := studio.end():
            wrong.append(f"the studio ended with exit code {code}")
        wrong += [f"in the log: {line}" for line in studio.trouble()]
        return [*wrong, *leftovers(studio, tally)]


def grown(before: Idle, after: Idle, *, memory: bool) -> list[str]:
    """Sentences on what has become more than it may."""
    wrong = []
    if memory and after.rss > before.rss * (1 + GROWTH):
        wrong.append(f"memory grew from {before.rss / 1e6:.0f} to {after.rss / 1e6:.0f} MB")
    if after.files > before.files + MORE_FILES:
        wrong.append(f"{after.files} files are open, {before.files} before")
    new = after.threads - before.threads
    # The only one of its kind may begin late, with the first of its work.
    if new := {name: count for name, count in new.items() if name != "pool" and after.threads[name] > 1}:
        wrong.append(f"more threads: {new}")
    return wrong


def report(tally: Tally, observer: Observer, idle: Sequence[Idle], seconds: float) -> None:
    jobs = list(observer.watch.trainings.values())
    ends = {state: sum(job["status"] == state for job in jobs) for state in {job["status"] for job in jobs}}
    waits = [one for waited in tally.waits.values() for one in waited]
    print(f"{seconds:.0f} s; {observer.looks} looks of the owner; trainings {ends}")
    print(", ".join(f"{count} {what}" for what, count in sorted(tally.done.items())))
    for number, waited in sorted(tally.waits.items()):
        who = PEOPLE[number % len(PEOPLE)]
        middle, longest = statistics.median(waited), max(waited)
        print(
            f"client {number} ({who}): {len(waited)} pictures, median {middle:.2f} s, longest {longest:.2f} s"
        )
    if waits:
        print(f"all: median {statistics.median(waits):.2f} s, longest {max(waits):.2f} s")
    before, after = idle
    print(
        f"memory {before.rss / 1e6:.1f} -> {after.rss / 1e6:.1f} MB ({after.rss / before.rss - 1:+.1%}), "
        f"files {before.files} -> {after.files}, threads {before.threads.total()} -> {after.threads.total()}"
    )


def main(given: Sequence[str] | None = None) -> int:
    options = parse(given)
    print(f"seed {options.seed}; {options.clients} clients, {options.minutes:g} minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder:
        wrong = soak(options, Path(folder))
    for sentence in dict.fromkeys(wrong):
        print(f"WRONG  {sentence}")
    print("All held." if not wrong else f"{len(wrong)} did not hold; seed {options.seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
