"""Pages that watch one training: python -m scripts.bench.five_pages [--pages N] [--seconds N] [--json]

The training runs in this process, so that the server's CPU seconds are those of its pages alone; a step comes
every half a second. Each page says when a step is painted, and how long its own thread was held up. CPU
seconds are the server's; delays on a shared machine are upper limits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from lora_studio.config import TrainConfig
from lora_studio.events import Finished, Started, StepDone
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.job_store import JobStore
from lora_studio.store.process_owner import this_process
from scripts.bench.page import Server
from scripts.bench.startup import TAB_IS_SEEN, running_app, wait_for_page
from tests.support.chromium import find_chromium

STEP_SECONDS, SETTLE_SECONDS, LATE = 0.5, 5.0, 2.0
PATIENCE = 120_000
WATCH = r"""
window.painted = {}; window.held = [];
new PerformanceObserver((list) => { for (const one of list.getEntries()) held.push(one.duration); })
  .observe({ type: 'longtask' });
addEventListener('DOMContentLoaded', () => new MutationObserver(() => {
  const found = /step (\d+) of/.exec(document.querySelector('#tab-train')?.textContent || '');
  if (found) painted[found[1]] ??= Date.now() / 1000;
}).observe(document.body, { childList: true, subtree: true, characterData: true }));
"""
"""Script of each page: unix times at which a step was first seen, and the tasks of more than 50 ms."""


def begin_training(store: JobStore, settings: Settings, steps: int) -> str:
    """A training that this process runs, as the store has it; its id."""
    output = {"output_name": "watched", "output_dir": str(settings.loras / "watched")}
    given = {"pretrained_model_name_or_path": "starter", "train_data_dir": str(settings.datasets / "watched")}
    job = store.create(TrainConfig.from_values({**given, **output, "max_train_steps": steps}), this_process())
    store.claim(job.id, this_process())
    store.append(job.id, Started(total_steps=steps, phases=("train",), device="cpu", dtype="fp32"))
    return job.id


def run_training(store: JobStore, job_id: str, pages: list[Page], seconds: float) -> dict[int, float]:
    """Steps for some seconds; the unix time at which each was stored."""
    stored, end, total = {}, time.monotonic() + seconds, store.get(job_id).total_steps
    step = 0
    while time.monotonic() < end:
        step += 1
        done = StepDone(
            step=step, total_steps=total, loss=1 / step, average_loss=0.5, learning_rate=1e-4, seconds=0.5
        )
        store.append(job_id, done, time.time())
        store.heartbeat(this_process())
        stored[step] = time.time()
        pages[step % len(pages)].wait_for_timeout(1000 * STEP_SECONDS)  # the browsers' events are read here
    return stored


def delays(stored: dict[int, float], painted: dict[str, float]) -> list[float]:
    """Seconds until each step, or a later one, was seen on a page; none of those that never were."""
    seen = sorted((int(step), at) for step, at in painted.items())
    first = [next((at for step, at in seen if step >= number), None) for number in stored]
    return [at - stored[number] for number, at in zip(stored, first, strict=True) if at is not None]


class PageCpu:
    """The CPU seconds of pages' main threads, by Chromium's own count."""

    def __init__(self, pages: list[Page]) -> None:
        self._sessions = [page.context.new_cdp_session(page) for page in pages]
        for session in self._sessions:
            session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def seconds(self) -> float:
        """The seconds of all pages so far."""
        found = [session.send("Performance.getMetrics")["metrics"] for session in self._sessions]
        tasks = [one["value"] for metrics in found for one in metrics if one["name"] == "TaskDuration"]
        return float(sum(tasks))


def open_pages(browser: Browser, address: str, count: int) -> list[Page]:
    """Pages of one browser on the Train tab, each in front."""
    pages = []
    for _ in range(count):
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.add_init_script(WATCH)
        page.goto(f"{address}?tab=train", wait_until="domcontentloaded")
        page.wait_for_function(TAB_IS_SEEN, polling="raf", timeout=PATIENCE)
        pages.append(page)
    pages[0].wait_for_timeout(1000 * SETTLE_SECONDS)
    return pages


def measure(settings: Settings, count: int, seconds: float) -> dict[str, float]:
    """The figures of one run."""
    settings.create_folders()
    steps = round(2 * seconds / STEP_SECONDS)
    with closing(Database(settings.database)) as database, sync_playwright() as playwright:
        store = JobStore(database)
        job_id = begin_training(store, settings, steps)
        with running_app(settings.home) as (process, address, _):
            wait_for_page(address, process)
            server = Server(process.pid)
            browser = playwright.chromium.launch(executable_path=find_chromium())
            pages = open_pages(browser, address, count)
            for page in pages:
                page.evaluate("held.length = 0")
            threads = PageCpu(pages)
            painting = threads.seconds()
            before, begun = server.cpu(), time.perf_counter()
            stored = run_training(store, job_id, pages, seconds)
            spent, took = server.cpu() - before, time.perf_counter() - begun
            painting = threads.seconds() - painting
            pages[0].wait_for_timeout(1000 * LATE)
            late = [delay for page in pages for delay in delays(stored, page.evaluate("painted"))]
            held = [length for page in pages for length in page.evaluate("held")]
            store.append(job_id, Finished(path="", steps=len(stored), seconds=seconds))
            browser.close()
    return {
        "pages": count,
        "steps a second": len(stored) / took,
        "server, % of a core": 100 * spent / took,
        "server, CPU ms a step and page": 1000 * spent / len(stored) / count,
        "a page's main thread, CPU ms a step": 1000 * painting / len(stored) / count,
        "a step is painted after, median s": statistics.median(late),
        "a step is painted after, most s": max(late),
        "painted later than 2 s": sum(delay > LATE for delay in late),
        "of": len(stored) * count,
        "longest task of a page, ms": max(held, default=0.0),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), models=Path(folder) / "models")
        found = measure(settings, given.pages, given.seconds)
    shown: dict[str, Any] = {name: round(value, 2) for name, value in found.items()}
    print(json.dumps(shown, indent=2) if given.json else "\n".join(f"{k}: {v}" for k, v in shown.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
