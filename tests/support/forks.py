"""Processes for tests that kill trainings. torch is loaded once, in a server; each process is a fork of that,
made before anything was computed."""

from __future__ import annotations

import multiprocessing

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.support.killed", "tests.support.two_ranks"])
