"""The audit log of the real app: logins, and what is done on the page and over the API."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from lora_studio.store.people.audit_log import AuditLog
from lora_studio.ui.client_input.audited_calls import DEEDS
from tests.integration.endpoint_table import ENDPOINTS
from tests.support.api_caller import write_lora
from tests.support.serving import App
from tests.support.shared_apps import PASSWORD, USER
from tests.support.waiting import PATIENCE

ALL = 10_000
"""More entries than the log has."""
LOOKS = {
    *(
        "list_datasets",
        "list_captions",
        *("caption_words", "captioning_status"),
        "list_edits",
        "list_trainings",
        "list_loras",
        "list_images",
        "list_generations",
    ),
    *("list_samplers", "list_styles", "training_status", "plan_training", "read_settings"),
    *(
        "inspect_lora",
        "inspect_file",
        "export_lora",
        "export_dataset",
        "get_card",
        "check_studio",
        "list_storage",
        "list_repairs",
    ),
    *("stop_repair", "check_dataset", "stop_check", "dataset_report"),
    *("compare_trainings", "strength_report", "start_strength_report"),
    *(
        "generate",
        "generate_base64",
        "img2img",
        "grid",
        "interrupt",
        "save_now",
        "preview_now",
        *("stop_import", "stop_export"),
        "stop_publishing",
    ),
}
"""Endpoints that change nothing of value, and those that draw."""


@pytest.mark.slow
def test_what_is_done_is_logged_with_who_and_from_where(locked: App, tmp_path: Path) -> None:
    log = AuditLog(locked.home)
    before = len(log.newest(ALL))
    with httpx.Client(base_url=locked.address, timeout=PATIENCE, trust_env=False) as visitor:
        wrong = {"username": "my secret password", "password": "wrong"}
        assert visitor.post("login", data=wrong).status_code >= 400
        right = {"username": USER, "password": PASSWORD}
        assert visitor.post("login", data=right).status_code == 200
        lora = write_lora(tmp_path / "audited.safetensors", 0.11)
        sent = visitor.post("gradio_api/upload", files=[("files", (lora.name, lora.read_bytes()))])
        file = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
        for endpoint, data in (
            *(("import_lora", [[file]]), ("rename_lora", ["audited", "A secret title"])),
            *(("delete_lora", ["audited"]), ("delete_lora", ["audited"]), ("list_loras", [""])),
        ):
            visitor.post(f"gradio_api/run/{endpoint}", json={"data": data})
    entries = log.newest(ALL)[before:]
    lines = "".join(path.read_text() for path in locked.home.glob("*.jsonl"))
    assert [(entry.deed, entry.who, entry.thing) for entry in entries] == [
        *(("failed login", "unknown", ""), ("login", USER, ""), ("import", USER, "")),
        *(("rename", USER, "audited"), ("delete", USER, "audited"), ("delete", USER, "audited")),
    ]
    assert {entry.source for entry in entries} == {"127.0.0.1"}
    assert [entry.result for entry in entries[-2:]] == ["ok", "refused: StoreError"]
    assert "secret" not in lines
    assert PASSWORD not in lines


def test_every_endpoint_is_logged_or_only_looks() -> None:
    assert not ENDPOINTS.keys() - DEEDS.keys() - LOOKS
