"""`lora-studio doctor`: checks of this installation with advice on each problem, and its logs as one file."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from lora_studio.formatting import size
from lora_studio.operations.findings import Finding
from lora_studio.settings import Settings

MARKS = {"ok": "ok     ", "off": "off    ", "problem": "PROBLEM"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument(
        "--logs", metavar="ZIP", type=Path, help="also pack the logs, without secrets, into this file"
    )


def run(arguments: argparse.Namespace) -> int:
    from lora_studio.operations.installation_checks import examine
    from lora_studio.operations.studio_logs import pack_logs

    settings, findings = Settings.from_environment(), list[Finding]()
    for finding in examine(settings):
        findings.append(finding)
        if not arguments.json:
            print(f"{MARKS[finding.state]}  {finding.what:<11}  {finding.said}", flush=True)
            if finding.advice:
                print(f"{'':<22}{finding.advice}", flush=True)
    packed = pack_logs(settings, arguments.logs, findings) if arguments.logs else None
    healthy = all(finding.ok for finding in findings)
    if arguments.json:
        listed = [{**asdict(finding), "state": finding.state} for finding in findings]
        print(json.dumps({"ok": healthy, "findings": listed}, indent=2))
    elif packed:
        print(f"The logs are in {packed}, {size(packed.stat().st_size)}.")
    return 0 if healthy else 2
