from __future__ import annotations

from lora_studio.settings import Settings
from lora_studio.store.people.audit_log import AuditEntry, AuditLog
from tests.support.command import Command


def test_the_last_entries_are_a_table(command: Command) -> None:
    assert "Nobody" in command("audit").out
    settings = Settings.from_environment()
    settings.create_folders()
    log = AuditLog(settings.home)
    for number in range(3):
        log.add(AuditEntry(deed="delete", who="ada", source="10.0.0.7", thing=f"ink-{number}"))
    lines = command("audit", "--count", 2).out.splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["WHEN", "WHO", "FROM", "WHAT", "ON", "RESULT"]
    assert lines[-1].split()[2:] == ["ada", "10.0.0.7", "delete", "ink-2", "ok"]
    assert [entry["thing"] for entry in command("audit", "--json").json["entries"]] == [
        "ink-0",
        "ink-1",
        "ink-2",
    ]
    assert command("audit", "--count", "x").code == 2
