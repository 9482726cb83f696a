"""The options that the page is started with on a command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read `argv`, or with None the program's own; a wrong option ends the program with its usage."""
    parser = argparse.ArgumentParser(prog="app.py", description="Open LoRA Studio's page.")
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1, this machine only)")
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also make a public link, with a password")
    parser.add_argument("--user", default="", help="user name the page asks for")
    parser.add_argument("--password", default="", help="password it asks for; better in LORA_STUDIO_PASSWORD")
    return parser.parse_args(argv)
