"""The files of tests/integration that share an app, and how parallel workers keep them together."""

from __future__ import annotations

from pathlib import Path

from xdist.scheduler import LoadFileScheduling

USER, PASSWORD = "studio", "correct horse"
"""Of the app that has a password."""
SHARING = {
    "app": (
        "test_api",
        "test_api_at_once",
        "test_documented_api",
        "test_endpoints",
        "test_gate",
        "test_known_holes",
    ),
    "locked": ("test_audit", "test_gate_login", "test_two_people"),
}
"""Files by the fixture that they share."""


class SharedAppScheduling(LoadFileScheduling):
    """A file stays with one worker, and so do the files that share an app."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        stem = Path(file).stem
        return next((shared for shared, files in SHARING.items() if stem in files), file)
