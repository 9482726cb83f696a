"""The start of the app and its cost while nobody uses it: python -m scripts.bench.startup [--json]

Measured in fresh processes: seconds and modules of `import app`, seconds from starting app.py until the page
answers (and, where Chromium is found, until a person sees the tabs), resident memory while idle; and in
turns the processor's seconds until app.py and an empty page of Gradio answer.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]

CHECKOUT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "diffusers", "transformers", "accelerate", "peft")
IMPORT_PROGRAM = f"""
import json, sys, time
begun = time.perf_counter()
import app
print(json.dumps({{"seconds": time.perf_counter() - begun, "modules": len(sys.modules),
                  "heavy": [name for name in {HEAVY!r} if name in sys.modules]}}))
"""
EMPTY_PROGRAM = """
import sys
import gradio as gr
with gr.Blocks(analytics_enabled=False) as page:
    gr.Markdown("Nothing")
page.launch(server_port=int(sys.argv[2]), quiet=True)
"""
"""The least that Gradio serves; its arguments are those of app.py."""
TAB_IS_SEEN = """[...document.querySelectorAll("[role=tab]")].some(
    (one) => one.textContent.trim() === "Train" && one.checkVisibility())"""
IDLE_SECONDS = 5.0
GIVE_UP_SECONDS = 300.0


def measure_import() -> dict[str, object]:
    """`import app` in a fresh interpreter."""
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_PROGRAM], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    return dict(json.loads(run.stdout.splitlines()[-1]))


@contextmanager
def running_app(
    home: Path, program: Sequence[str] = ("app.py",)
) -> Iterator[tuple[subprocess.Popen[bytes], str, float]]:
    """app.py, or another program, in a process of its own: (process, address, when it was started)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "LORA_STUDIO_HOME": str(home), "LORA_STUDIO_MODELS": str(home / "models")}
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *program, "--port", str(port)],
        cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process, f"http://127.0.0.1:{port}/", begun
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_for_page(address: str, process: subprocess.Popen[bytes]) -> None:
    """Until the page and its configuration answer."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            for path in ("", "config"):
                with urllib.request.urlopen(address + path, timeout=5) as answer:
                    answer.read()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.02)
    raise SystemExit(f"The page did not come up (exit code {process.poll()}).")


def measure_start(chromium: Path | None) -> dict[str, float]:
    """One start: seconds until the page answers, until its tabs are seen, and memory in MB after a rest."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, running_app(Path(folder)) as (process, address, begun):
        wait_for_page(address, process)
        found["seconds until the page answers"] = time.perf_counter() - begun
        time.sleep(IDLE_SECONDS)
        found["idle memory, MB"] = psutil.Process(process.pid).memory_info().rss / 1e6
    if chromium:
        found["seconds until the tabs are seen"] = measure_sight(chromium)
    return found


def measure_answer(program: Sequence[str]) -> float:
    """The processor's seconds of a program until its page answers."""
    with tempfile.TemporaryDirectory() as folder, running_app(Path(folder), program) as (process, address, _):
        wait_for_page(address, process)
        spent = psutil.Process(process.pid).cpu_times()
        return float(spent.user + spent.system)


def measure_sight(chromium: Path) -> float:
    """Seconds from starting app.py until a browser that is open already shows the tabs."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium)
        page = browser.new_page()
        with running_app(Path(folder)) as (process, address, begun):
            wait_for_page(address, process)
            page.goto(address, wait_until="domcontentloaded")
            # Looked at with each frame: an expectation waits up to a second between two looks.
            page.wait_for_function(TAB_IS_SEEN, polling="raf", timeout=GIVE_UP_SECONDS * 1000)
            seconds = time.perf_counter() - begun
            browser.close()
    return seconds


def main() -> int:
    from tests.support.chromium import find_chromium

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="starts to measure (default: 3)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    imported = [measure_import() for _ in range(arguments.runs)]
    starts = [measure_start(find_chromium()) for _ in range(arguments.runs)]
    programs = ("app.py",), ("-c", EMPTY_PROGRAM)
    turns = [[measure_answer(program) for program in programs] for _ in range(arguments.runs)]
    studio, empty = (statistics.median(column) for column in zip(*turns, strict=True))
    result: dict[str, object] = {
        "runs": arguments.runs,
        "import app, seconds": statistics.median(float(str(run["seconds"])) for run in imported),
        "modules after import": imported[-1]["modules"],
        "heavy libraries after import": imported[-1]["heavy"],
        **{key: statistics.median(run[key] for run in starts) for key in starts[0]},
        "CPU seconds until the page answers": studio,
        "CPU seconds until an empty page of Gradio answers": empty,
        "their ratio": statistics.median(one / other for one, other in turns),
    }
    print(
        json.dumps(result, indent=2) if arguments.json else "\n".join(f"{k}: {v}" for k, v in result.items())
    )
    return 1 if imported[-1]["heavy"] else 0


if __name__ == "__main__":
    sys.exit(main())
