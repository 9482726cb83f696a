"""The end of the app that the others have used: it comes after all of them."""

from __future__ import annotations

import signal
import sqlite3
import sys
from contextlib import closing

import pytest

from tests.support.api_caller import Caller
from tests.support.serving import CHECKOUT
from tests.support.waiting import PATIENCE, until

FOX = CHECKOUT / "examples" / "ink" / "fox.png"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to answer")
def test_sigterm_ends_it_in_order_and_keeps_what_was_learned(studio: Caller) -> None:
    app = studio.app
    dataset = studio.run("upload_dataset", studio.upload(FOX), "Last fox")["dataset_id"]
    options = {"max_train_steps": 100_000, "sample_every_n_steps": 0}
    job = studio.run("start_training", dataset, "Last fox", "object", "", "starter", options)["job_id"]
    until(lambda: studio.run("training_status", job)["step"] >= 2)
    app.process.send_signal(signal.SIGTERM)
    assert app.process.wait(PATIENCE) == 0
    assert any("Closing" in line for line in app.said)
    assert (app.models / "lora" / "last-fox" / "last-fox.safetensors").is_file()
    with closing(sqlite3.connect(app.home / "studio.db")) as database:
        assert database.execute("SELECT status FROM jobs WHERE id = ?", [job]).fetchall() == [("paused",)]
