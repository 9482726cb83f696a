"""The audit log of the real app: logins, and what is done on the page and over the API."""

from __future__ import annotations

from pathlib import Path

import httpx

from lora_studio.store.people.audit_log import AuditLog
from lora_studio.ui.client_input.audited_calls import DEEDS
from tests.integration.endpoint_table import ENDPOINTS
from tests.support.api_caller import write_lora
from tests.support.serving import running_app

LOOKS = {
    *("list_datasets", "list_captions", "list_trainings", "list_loras", "list_images", "list_generations"),
    *("list_samplers", "list_styles", "training_status", "plan_training", "read_settings"),
    *(
        "generate",
        "generate_base64",
        "img2img",
        "grid",
        "interrupt",
        "save_now",
        "preview_now",
        "stop_import",
    ),
}
"""Endpoints that change nothing of value, and those that draw."""


def test_what_is_done_is_logged_with_who_and_from_where(tmp_path: Path) -> None:
    with running_app(tmp_path, LORA_STUDIO_USER="ada", LORA_STUDIO_PASSWORD="correct horse") as app:
        log = AuditLog(app.home)
        with httpx.Client(base_url=app.address, timeout=300, trust_env=False) as visitor:
            wrong = {"username": "my secret password", "password": "wrong"}
            assert visitor.post("login", data=wrong).status_code >= 400
            right = {"username": "ada", "password": "correct horse"}
            assert visitor.post("login", data=right).status_code == 200
            lora = write_lora(tmp_path / "ink.safetensors")
            sent = visitor.post("gradio_api/upload", files=[("files", (lora.name, lora.read_bytes()))])
            file = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
            for endpoint, data in (
                *(("import_lora", [[file]]), ("rename_lora", ["ink", "A secret title"])),
                *(("delete_lora", ["ink"]), ("delete_lora", ["ink"]), ("list_loras", [""])),
            ):
                visitor.post(f"gradio_api/run/{endpoint}", json={"data": data})
        entries = log.newest(100)
        lines = "".join(path.read_text() for path in app.home.glob("*.jsonl"))
    assert [(entry.deed, entry.who, entry.thing) for entry in entries] == [
        *(("failed login", "unknown", ""), ("login", "ada", ""), ("import", "ada", "")),
        *(("rename", "ada", "ink"), ("delete", "ada", "ink"), ("delete", "ada", "ink")),
    ]
    assert {entry.source for entry in entries} == {"127.0.0.1"}
    assert [entry.result for entry in entries[-2:]] == ["ok", "refused: StoreError"]
    assert "secret" not in lines
    assert "correct horse" not in lines


def test_every_endpoint_is_logged_or_only_looks() -> None:
    assert not ENDPOINTS.keys() - DEEDS.keys() - LOOKS
