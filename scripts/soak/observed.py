"""Looks at trainings and generations, and the rules for what may follow what."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from scripts.soak.browser import Browser

ENDED = {"finished", "stopped", "failed"}
LEFT = {"finished", "stopped", "failed", "paused", "interrupted"}
GENERATION_AFTER: Mapping[str, set[str]] = {
    "waiting": {"waiting", "running", *ENDED},
    "running": {"running", *ENDED},
    **{state: {state} for state in ENDED},
}
WORKING = {"running", "stopping", "pausing", "paused", *ENDED}
TRAINING_AFTER: Mapping[str, set[str]] = {
    "queued": {"queued", *WORKING},
    "running": {"queued", *WORKING},  # paused and resumed between two looks
    "stopping": {"stopping", "stopped", "finished"},
    "pausing": {"queued", *WORKING} - {"failed"},
    "paused": {"queued", *WORKING} - {"pausing"},
    **{state: {state} for state in ENDED},
}
"""The statuses that may be seen after one: a look may miss some in between."""
LOOK_SECONDS = 0.25


@dataclass(kw_only=True)
class Watch:
    """One observer's view of all trainings and generations; observers must not share one, as answers overtake
    each other on their way. `wrong` are sentences on what may not be."""

    trainings: dict[str, dict[str, Any]] = field(default_factory=dict)
    generations: dict[str, dict[str, Any]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def see_training(self, now: Mapping[str, Any]) -> None:
        before = self.trainings.get(now["job_id"])
        self.trainings[now["job_id"]] = dict(now)
        what, status = f"the training {now['name']}", now["status"]
        if not 0 <= now["progress"] <= 100 or not 0 <= now["step"] <= now["total_steps"]:
            self.wrong.append(f"{what}: {now['progress']} %, step {now['step']} of {now['total_steps']}")
        if status == "finished" and (now["progress"] != 100 or now["step"] != now["total_steps"]):
            self.wrong.append(f"{what} is finished at {now['progress']} %, step {now['step']}")
        if before is None:
            return
        if status not in TRAINING_AFTER[before["status"]]:
            self.wrong.append(f"{what}: {status} after {before['status']}")
        for number in ("progress", "step"):
            if now[number] < before[number]:
                self.wrong.append(f"{what}: {number} {now[number]:g} after {before[number]:g}, {status}")

    def see_generation(self, now: Mapping[str, Any]) -> None:
        before = self.generations.get(now["ticket"])
        self.generations[now["ticket"]] = dict(now)
        what, state = f"the generation {now['prompt']!r}", now["state"]
        if state == "finished" and now["progress"] != 100:
            self.wrong.append(f"{what} is finished at {now['progress']} %")
        if before is None:
            return
        if state not in GENERATION_AFTER[before["state"]]:
            self.wrong.append(f"{what}: {state} after {before['state']}")
        if now["progress"] < before["progress"]:
            self.wrong.append(f"{what}: {now['progress']} % after {before['progress']} %")
        if state == before["state"] == "waiting" and now["ahead"] > before["ahead"]:
            self.wrong.append(f"{what}: {now['ahead']} are ahead after {before['ahead']}")


@dataclass(kw_only=True)
class Queue:
    """The order in which those that waited had their turn, against first come, first served."""

    name: str
    waiting: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def see(self, waiting: Sequence[str], begun: set[str]) -> None:
        """`waiting` in their order; `begun` are all that have had their turn. Newcomers may stand anywhere:
        who is resumed waits at the place of its age."""
        still = [one for one in self.waiting if one in waiting]
        if still != [one for one in waiting if one in still]:
            self.wrong.append(f"{self.name}: those that wait changed places")
        for place, one in enumerate(self.waiting):
            overtaken = [earlier for earlier in self.waiting[:place] if earlier in waiting]
            if one in begun and overtaken:
                self.wrong.append(f"{self.name}: {one} had its turn before {overtaken[0]}")
        self.waiting = list(waiting)


class Observer:
    """The owner, who sees everything, and looks a few times a second from a thread."""

    def __init__(self, browser: Browser) -> None:
        self.browser, self.watch = browser, Watch()
        self.trainings, self.generations = Queue(name="trainings"), Queue(name="generations")
        self.looks = 0

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look all the time meanwhile."""
        done = threading.Event()
        thread = threading.Thread(target=self._run, args=(done,), name="observer", daemon=True)
        thread.start()
        yield
        done.set()
        thread.join()

    @property
    def wrong(self) -> list[str]:
        return [*self.watch.wrong, *self.trainings.wrong, *self.generations.wrong]

    def look(self) -> bool:
        """See everything once. Whether all has ended."""
        self.looks += 1
        jobs = self.browser.ask("list_trainings", 500)
        tickets = self.browser.ask("list_generations")
        for job in reversed(jobs):
            self.watch.see_training(job)
        for ticket in tickets:
            self.watch.see_generation(ticket)
        self.trainings.see(
            [job["job_id"] for job in reversed(jobs) if job["status"] == "queued"],
            {job["job_id"] for job in jobs if job["status"] in {"running", "finished"}},
        )
        waiting = sorted((one for one in tickets if one["state"] == "waiting"), key=lambda one: one["ahead"])
        self.generations.see(
            [one["ticket"] for one in waiting],
            {one["ticket"] for one in tickets if one["state"] in {"running", "finished"}},
        )
        return all(job["status"] in LEFT for job in jobs) and all(one["state"] in ENDED for one in tickets)

    def _run(self, done: threading.Event) -> None:
        while not done.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 -- whatever it was, it is a finding
                self.watch.wrong.append(f"the owner's look: {type(error).__name__}: {error}")
