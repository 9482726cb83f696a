"""`lora-studio serve` hands its options to app.py. tests/integration opens a page with it."""

from __future__ import annotations

import runpy
import socket

from lora_studio.cli.main import build_parser
from lora_studio.cli.serve import options_for_app
from lora_studio.settings import CHECKOUT
from tests.support.command import Command


def test_app_py_understands_every_option() -> None:
    line = ["serve", "--host", "127.0.0.1", "--port", "7999", "--share", "--user", "me", "--password=-secret"]
    options = options_for_app(build_parser().parse_args(line))
    parsed = runpy.run_path(str(CHECKOUT / "app.py"))["parse_options"](options)
    assert vars(parsed) == {
        "host": "127.0.0.1",
        "port": 7999,
        "share": True,
        "user": "me",
        "password": "-secret",
    }


def test_a_taken_name_without_a_password_is_a_users_error(command: Command) -> None:
    outcome = command("serve", "--user", "me")
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")


def test_a_taken_port_is_said_in_a_sentence(command: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        outcome = command("serve", "--port", port)
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: Port {port} can't be used on 127.0.0.1")
    assert "Traceback" not in outcome.err
