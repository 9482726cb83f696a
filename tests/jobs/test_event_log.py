from __future__ import annotations

import json
from pathlib import Path

from lora_studio.events import Noted, PhaseAdvanced
from lora_studio.jobs.event_log import EventLog


def test_events_are_appended_to_both_files(tmp_path: Path) -> None:
    event_log = EventLog(tmp_path / "jobs" / "abc")
    assert event_log.tail(5) == ""
    event_log.add(Noted(message="größer\nals gedacht", level="warning"), 1.5e9)
    event_log.add(PhaseAdvanced(phase="load", done=0, total=1), 1.5e9)
    event_log.tell("Traceback:\n  line", 1.5e9)
    lines = (tmp_path / "jobs" / "abc" / "events.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["Noted", "PhaseAdvanced"]
    assert json.loads(lines[0])["at"] == 1.5e9
    assert event_log.tail(4).splitlines()[0].endswith("Warning: größer")
    assert event_log.tail(1) == "  line"


def test_the_tail_of_a_long_log_is_its_end(tmp_path: Path) -> None:
    event_log = EventLog(tmp_path)
    (tmp_path / "log.txt").write_text("".join(f"line {number} {'x' * 50}\n" for number in range(50_000)))
    tail = event_log.tail(3).splitlines()
    assert [line.split()[1] for line in tail] == ["49997", "49998", "49999"]
