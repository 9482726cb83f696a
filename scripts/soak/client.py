"""One client: a person with a page, who trains, draws, reloads, stops, deletes and goes away."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from scripts.soak.browser import Browser, Refused
from scripts.soak.observed import ENDED, LEFT, Watch

PICTURES = 4
TICK_SECONDS = 1.0
GENERATE, TRAIN, RELOAD = "generate", "train", "reload"
DRAWING = ("wait", "wait", "wait", "wait", "cancel", "drop", "reload", "delete")
TRAINING = ("wait", "wait", "wait", "stop", "pause", "delete")
"""Ways in which a generation and a training go on, each as likely as another."""


@dataclass(frozen=True, kw_only=True)
class Deed:
    """Something to do `at` so many seconds from the beginning, in one of the ways."""

    kind: str
    at: float
    way: str = ""
    number: int = 0


@dataclass(kw_only=True)
class Tally:
    """The deeds of all clients together, with the seconds that their generations waited, by client."""

    jobs: dict[str, str] = field(default_factory=dict)
    drawn: set[str] = field(default_factory=set)
    deleted_images: set[str] = field(default_factory=set)
    deleted_loras: set[str] = field(default_factory=set)
    done: dict[str, int] = field(default_factory=dict)
    waits: dict[int, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        with self.lock:
            self.done[what] = self.done.get(what, 0) + 1


@dataclass(kw_only=True)
class Client:
    """`deeds` are done in their order, none before its time; trainings are looked after in between."""

    number: int
    browser: Browser
    tally: Tally
    pictures: Sequence[Path]
    steps: int
    random: random.Random
    watch: Watch = field(default_factory=Watch)
    dataset: str = ""
    followed: dict[str, str] = field(default_factory=dict)
    loras: list[str] = field(default_factory=list)

    def open(self) -> None:
        """Log in, open the page, hand in pictures."""
        self.browser.log_in()
        self.browser.reload()
        chosen = self.random.sample(list(self.pictures), PICTURES)
        made = self.browser.ask("upload_dataset", self.browser.upload(chosen), f"set {self.number}")
        self.dataset = made["dataset_id"]

    def run(self, deeds: Sequence[Deed], begun: float) -> None:
        """Do all, then wait for the trainings. What goes wrong is told in the tally."""
        for deed in deeds:
            self._guarded(lambda at=deed.at: self._wait_until(begun + at))  # type: ignore[misc]
            self._guarded(lambda deed=deed: self._do(deed), f"{deed.kind} ({deed.way})")  # type: ignore[misc]
        while self.followed and self._guarded(self._tend):
            time.sleep(TICK_SECONDS)

    def _guarded(self, work: Any, what: str = "looking after trainings") -> bool:
        try:
            work()
        except (Refused, httpx.HTTPError, AssertionError, KeyError, ValueError) as error:
            who = f"client {self.number} ({self.browser.name})"
            self.tally.wrong.append(f"{who}, {what}: {type(error).__name__}: {error}")
            return False
        return True

    def _wait_until(self, moment: float) -> None:
        while True:
            self._tend()
            left = moment - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, TICK_SECONDS))

    def _do(self, deed: Deed) -> None:
        {GENERATE: self._generate, TRAIN: self._train, RELOAD: self._reload}[deed.kind](deed)
        self.tally.count(deed.kind)
        if deed.way:
            self.tally.count(f"{deed.kind}: {deed.way}")

    def _reload(self, deed: Deed) -> None:
        self.browser.reload()
        self.browser.tick()

    def _generate(self, deed: Deed) -> None:
        prompt = f"picture {deed.number} of a dog"
        loras = [{"slug": slug} for slug in self.loras[-1:] if self.random.random() < 0.5]
        options = {"num_inference_steps": self.random.randint(2, 6), "insert_trigger": False}
        given = [prompt, loras, "starter", "", deed.number, 1, options]
        begun = time.monotonic()
        event = self.browser.join(self.browser.endpoint("generate"), given)
        self.tally.drawn.add(prompt)
        if deed.way == "drop":
            for _ in self.browser.stream():
                return  # the connection is closed after its first word
        if deed.way == "reload":
            self.browser.reload()
            self._wait_for(prompt)
            return
        if deed.way == "cancel" and (ticket := self._ticket(prompt)):
            self.browser.ask("interrupt", ticket["ticket"])
        (images,) = self.browser.result(event)
        with self.tally.lock:
            self.tally.waits.setdefault(self.number, []).append(time.monotonic() - begun)
        if deed.way != "cancel" and len(images) != 1:
            self.tally.wrong.append(f"{prompt!r} gave {len(images)} pictures")
        for image in images:
            assert self.browser.fetch(image["path"]).startswith(b"\x89PNG"), "no PNG"
        if deed.way == "delete":
            self._delete_image(prompt)

    def _delete_image(self, prompt: str) -> None:
        (image,) = (one for one in self.browser.ask("list_images", prompt, 5) if one["prompt"] == prompt)
        token = self.browser.ask("delete_image", image["image_id"])["undo"]
        if self.random.random() < 0.5:
            self.browser.ask("undo_delete", token)
        else:
            self.tally.deleted_images.add(prompt)

    def _ticket(self, prompt: str) -> dict[str, Any] | None:
        tickets = self.browser.ask("list_generations")
        for ticket in tickets:
            self.watch.see_generation(ticket)
        return next((one for one in tickets if one["prompt"] == prompt), None)

    def _wait_for(self, prompt: str) -> None:
        """Look at the page that was opened anew until the generation has ended. Gradio drops what has not
        begun when its page goes."""
        while (ticket := self._ticket(prompt)) and ticket["state"] not in ENDED:
            self.browser.tick()
            time.sleep(TICK_SECONDS)

    def _train(self, deed: Deed) -> None:
        options = {"max_train_steps": self.steps, "sample_every_n_steps": 0, "train_batch_size": 1}
        name = f"soak {deed.number}"
        job = self.browser.ask("start_training", self.dataset, name, "style", "zwx", "starter", options)
        with self.tally.lock:
            self.tally.jobs[job["job_id"]] = deed.way
        self.followed[job["job_id"]] = deed.way

    def _tend(self) -> None:
        """Look after the own trainings, and let the page's timer tick."""
        self.browser.tick()
        for job_id, way in list(self.followed.items()):
            job = self.browser.ask("training_status", job_id)
            self.watch.see_training(job)
            status = job["status"]
            if status == "paused":
                self.browser.ask("resume_training", job_id, False)
            elif status in LEFT:
                del self.followed[job_id]
                self._end_training(job, way)
            elif way == "stop" and job["step"] > 0:
                self._tell("stop_training", job_id)
            elif way == "pause" and job["step"] > 0:
                self._tell("pause_training", job_id)

    def _tell(self, act: str, job_id: str) -> None:
        """Tell a training something, once."""
        self.followed[job_id] = ""
        try:
            self.browser.ask(act, job_id)
        except Refused:  # right where it has ended by itself meanwhile
            assert self.browser.ask("training_status", job_id)["status"] == "finished"

    def _end_training(self, job: dict[str, Any], way: str) -> None:
        if not job["lora_slug"]:
            return
        if way == "delete":
            self.browser.ask("delete_lora", job["lora_slug"])
            self.tally.deleted_loras.add(job["lora_slug"])
        else:
            self.loras.append(job["lora_slug"])
