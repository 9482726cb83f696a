"""What lies outside is asked for seconds at most, and what is off says how it comes on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from lora_studio.operations import reach_checks
from lora_studio.operations.findings import Finding
from lora_studio.operations.reach_checks import check_hub, check_supabase, check_switches, headline
from lora_studio.settings import Settings
from tests.support.file_server import Answer, FileServer, serve_files


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with serve_files() as server:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.port}")
        yield server


def test_the_hub_answers_or_does_not(
    settings: Settings, hub: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.answers["/"] = Answer()
    assert check_hub(settings).state == "ok"
    hub.answers["/"] = Answer(status=503)
    assert "answers with 503" in check_hub(settings).said
    with closing(socket.socket()) as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(
            "huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}"
        )
        monkeypatch.setattr(reach_checks, "SECONDS", 0.1)
        late = check_hub(settings)
    assert "did not answer in time" in late.said
    assert late.state == "off"
    assert "HTTPS_PROXY" in late.advice


def test_a_hub_that_nobody_may_ask_is_not_asked(settings: Settings) -> None:
    finding = check_hub(settings)
    assert finding.state == "off"
    assert "HF_HUB_OFFLINE" in finding.said


def test_supabase_is_off_says_so_or_is_a_problem_without_its_key(settings: Settings) -> None:
    assert check_supabase(settings).said == "off: SUPABASE_URL and SUPABASE_KEY are not set"
    url = replace(settings, supabase_url="http://127.0.0.1:9")
    assert check_supabase(url).said == "off: SUPABASE_KEY is not set"
    finding = check_supabase(replace(url, supabase_key="planted-key-0123456789"))
    assert finding.state == "problem"
    assert finding.advice
    assert "planted" not in finding.said + finding.advice


def test_what_is_off_names_its_variable() -> None:
    found = [*check_switches({})]
    assert all(finding.state == "off" and "LORA_STUDIO_" in finding.said for finding in found)
    names = {finding.said.split()[1] for finding in found}
    assert [*check_switches(dict.fromkeys(names, "1"))] == []


def test_the_headline_counts_problems_alone() -> None:
    off, bad = (
        Finding(what="hub", said="off", advice="x", off=True),
        Finding(what="disk", said="0", advice="x"),
    )
    assert headline([off]) == "All is well."
    assert headline([off, bad]) == "1 thing needs you."
    assert headline([bad, bad]) == "2 things need you."
