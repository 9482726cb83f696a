"""Checks of what lies outside of this machine, each within seconds, and of what is switched off."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from lora_studio.errors import MirrorError
from lora_studio.formatting import counted
from lora_studio.operations.findings import Finding
from lora_studio.settings import Settings
from lora_studio.store.supabase_client import Supabase

SECONDS = 4.0
"""Seconds that a server is waited for."""
HUB_IS_NEEDED = "Base models that are here work without it; others are fetched from there."
SWITCHES = (
    ("modal", "LORA_STUDIO_MODAL", "trainings on rented graphics cards", "deploy.md, At Modal"),
    ("sd-scripts", "LORA_STUDIO_SD_SCRIPTS", "trainings by sd-scripts", "kohya.md"),
    ("webhook", "LORA_STUDIO_WEBHOOK", "word of trainings that end", "deploy.md, Watching it"),
    (
        "metrics",
        "LORA_STUDIO_METRICS_TOKEN",
        "numbers for Prometheus without a login",
        "deploy.md, Watching it",
    ),
)
"""(what, the variable that switches it on, what it is for, where the documentation has it)."""


def check_hub(settings: Settings) -> Finding:
    """The finding on the Hugging Face Hub. `HF_HUB_OFFLINE` keeps it from being asked."""
    import httpx
    from huggingface_hub import constants

    host = constants.ENDPOINT.rpartition("//")[2].partition("/")[0]
    if constants.HF_HUB_OFFLINE:
        advice = f"{HUB_IS_NEEDED} Unset HF_HUB_OFFLINE to ask it."
        return Finding(what="hub", said="not asked: HF_HUB_OFFLINE is set", advice=advice, off=True)
    try:
        answer = httpx.head(constants.ENDPOINT, timeout=SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "can't be reached"
        advice = f"{HUB_IS_NEEDED} Check the connection; behind a proxy set HTTPS_PROXY."
        return Finding(what="hub", said=f"{host} {why}", advice=advice, off=True)
    if answer.status_code >= 500:
        return Finding(
            what="hub", said=f"{host} answers with {answer.status_code}", advice=HUB_IS_NEEDED, off=True
        )
    return Finding(what="hub", said=f"{host} answers")


def check_supabase(settings: Settings) -> Finding:
    """The finding on the mirror's project, asked for one row. Without one the mirror is off."""
    if not (settings.supabase_url and settings.supabase_key):
        missing = [name for name, value in _supabase(settings).items() if not value]
        words = f"off: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set"
        return Finding(what="supabase", said=words, advice="docs/supabase.md sets it up.", off=True)
    remote = Supabase(settings)
    try:
        remote.select("training_jobs", "id", limit=1)
    except MirrorError as error:
        return Finding(
            what="supabase",
            said=error.message,
            advice=error.hint
            or "Trainings go on; what changes is sent once it answers. See docs/supabase.md.",
        )
    finally:
        remote.close()
    return Finding(what="supabase", said="the project answers")


def _supabase(settings: Settings) -> Mapping[str, str]:
    return {"SUPABASE_URL": settings.supabase_url, "SUPABASE_KEY": settings.supabase_key}


def check_switches(environment: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """A finding for each part of the program that a variable switches on and that is off."""
    env = os.environ if environment is None else environment
    for what, variable, purpose, place in SWITCHES:
        if not env.get(variable, "").strip():
            words = f"off: {variable} is not set"
            yield Finding(what=what, said=words, advice=f"For {purpose}: docs/{place}.", off=True)


def headline(findings: Sequence[Finding]) -> str:
    """The number of problems, in words."""
    problems = sum(not finding.ok for finding in findings)
    return f"{counted(problems, 'thing needs', 'things need')} you." if problems else "All is well."
