"""Where a Chromium for the browser tests may be."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
HOW_TO_GET_IT = (
    "no Chromium found; install Chromium or Chrome (Debian: apt install chromium), or run "
    f"{sys.executable} -m playwright install chromium"
)


def find_chromium() -> Path | None:
    """The browser's program: one named by LORA_STUDIO_CHROMIUM, an installed one, or playwright's own."""
    named = os.environ.get("LORA_STUDIO_CHROMIUM")
    candidates = [Path(named)] if named else _usual_places()
    return next((path for path in candidates if path.is_file()), None)


def _usual_places() -> Iterator[Path]:
    yield from (Path(found) for found in map(shutil.which, COMMANDS) if found)
    if sys.platform == "darwin":
        for app in ("Google Chrome", "Chromium", "Microsoft Edge"):
            yield Path(f"/Applications/{app}.app/Contents/MacOS/{app}")
    if sys.platform == "win32":
        for variable in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"):
            folder = Path(os.environ.get(variable, ""))
            yield folder / "Google/Chrome/Application/chrome.exe"
            yield folder / "Microsoft/Edge/Application/msedge.exe"
    for program in ("chrome-linux*/chrome", "chrome-win*/chrome.exe", "chrome-mac*/*.app/Contents/MacOS/*"):
        yield from sorted(_playwright_folder().glob(f"chromium-*/{program}"), reverse=True)


def _playwright_folder() -> Path:
    named = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    if named and named != "0":
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/ms-playwright"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", "")) / "ms-playwright"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ms-playwright"
