"""Logs are kept, bounded, and packed to be sent away; no secret that was planted is in them."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lora_studio.operations import studio_logs
from lora_studio.operations.findings import Finding
from lora_studio.operations.studio_logs import KEPT, begin_log, end_log, pack_logs
from lora_studio.settings import Settings

PLANTED = {
    "LORA_STUDIO_PASSWORD": "planted-page-word",
    "SUPABASE_KEY": "planted-mirror-key",
    "HF_TOKEN": "planted-hub-token",
    "WANDB_API_KEY": "planted-curve-key",
    "LORA_STUDIO_WEBHOOK": "https://hooks.example/planted-address",
}
OTHER = "hf_" + "Planted0Other1Key2" * 2
log = logging.getLogger("lora_studio.test")


@pytest.fixture
def planted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    return Settings.from_environment()


@pytest.fixture
def kept(planted: Settings) -> Iterator[Path]:
    handler = begin_log(planted)
    yield planted.home / "logs" / "studio.log"
    end_log(handler)


def sayings() -> list[str]:
    return [f"refused: {value}" for value in (*PLANTED.values(), OTHER)]


def test_no_secret_is_in_the_log_nor_in_its_tracebacks(kept: Path) -> None:
    for said in sayings():
        log.warning("%s", said)
    try:
        raise ValueError(" ".join(sayings()))
    except ValueError:
        log.exception("a bug")
    log.info("not kept")
    text = kept.read_text("utf-8")
    assert text.count("refused: …") == 2 * len(sayings())
    assert "Traceback" in text
    assert "not kept" not in text
    assert [secret for secret in (*PLANTED.values(), OTHER) if secret in text] == []


def test_the_log_has_bounds(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = next(one for one in logging.getLogger().handlers if isinstance(one, studio_logs.StudioLog))
    handler.maxBytes = 1000
    for _ in range(100):
        log.warning("%s", "x" * 100)
    sizes = [path.stat().st_size for path in kept.parent.iterdir()]
    assert len(sizes) == KEPT + 1
    assert max(sizes) <= 1000


def test_a_log_that_cannot_be_written_is_lost(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.mkdir()
    log.warning("nobody reads this")


def test_what_is_packed_has_no_secret_and_no_name_of_the_home(planted: Settings, tmp_path: Path) -> None:
    text = "\n".join([*sayings(), f"in {Path.home()}/pictures", "y" * 100])
    begin = f"LORA_STUDIO_PASSWORD {'z' * studio_logs.PACKED_BYTES}"
    for name in ("logs/studio.log", "logs/bug-1.txt", "jobs/0a/log.txt", "jobs/0a/process/console.log"):
        path = planted.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{begin}\n{text}\n", "utf-8")
    (planted.home / "audit.jsonl").write_text("who came from where", "utf-8")
    found = pack_logs(planted, tmp_path / "logs.zip", [Finding(what="supabase", said=f"key {OTHER}")])
    with zipfile.ZipFile(found) as archive:
        names = archive.namelist()
        texts = [archive.read(name).decode() for name in names]
    assert sorted(names) == [
        "README.txt", "check-up.json", "jobs/0a/log.txt", "jobs/0a/process/console.log",
        "logs/bug-1.txt", "logs/studio.log",
    ]  # fmt: skip
    whole = "\n".join(texts)
    assert [
        secret for secret in (*PLANTED.values(), OTHER, f"{Path.home()}/pictures") if secret in whole
    ] == []
    assert whole.count("in ~/pictures") == 4
    assert all(len(one) < 1.1 * studio_logs.PACKED_BYTES for one in texts)


def test_a_home_without_logs_can_be_packed_too(settings: Settings, tmp_path: Path) -> None:
    nothing = replace(settings, home=tmp_path / "nowhere")
    with zipfile.ZipFile(pack_logs(nothing, tmp_path / "logs.zip")) as archive:
        assert archive.namelist() == ["README.txt"]
