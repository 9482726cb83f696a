"""`lora-studio serve`: open the page. app.py does the work; the command line keeps off gradio."""

from __future__ import annotations

import argparse
import runpy

from lora_studio.errors import StudioError
from lora_studio.settings import CHECKOUT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1, this machine only)")
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also make a public link, with a password")
    parser.add_argument("--user", help="user name the page asks for")
    parser.add_argument("--password", help="password it asks for; better kept in LORA_STUDIO_PASSWORD")


def run(arguments: argparse.Namespace) -> int:
    app = CHECKOUT / "app.py"
    if not app.is_file():
        raise StudioError(f"{app} is missing.", "Take a complete copy of the project.")
    return int(runpy.run_path(str(app))["main"](options_for_app(arguments)))


def options_for_app(arguments: argparse.Namespace) -> list[str]:
    """The options in app.py's form."""
    options = ["--share"] if arguments.share else []
    for name in ("host", "port", "user", "password"):
        value = getattr(arguments, name)
        if value is not None:
            options.append(f"--{name}={value}")
    return options
