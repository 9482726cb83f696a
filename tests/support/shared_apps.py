"""The files of tests that share an app or a server of forks, and how parallel workers keep them together."""

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
        "test_inspection_endpoints",
        "test_known_holes",
        "test_workflow_script",
        "test_shared_app_ends",
    ),
    "locked": ("test_audit", "test_gate_login", "test_two_people"),
    "forks": ("test_going_on", "test_killed", "test_two_ranks"),
}
"""Files by what they share."""
ENDS = "test_shared_app_ends"
"""Whose tests come after all others that share its app: they end it."""


class SharedAppScheduling(LoadFileScheduling):
    """A file stays with one worker, and so do the files that share something."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        stem = Path(file).stem
        return next((shared for shared, files in SHARING.items() if stem in files), file)
