from __future__ import annotations

import pytest

from lora_studio.samplers import NEAR, NEAR_SPACINGS, SAME, SAMPLERS, SPACINGS, sampler_named
from lora_studio.settings import CHECKOUT


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_name_means_itself_in_any_case_and_with_the_schedule_apart(name: str) -> None:
    assert sampler_named(name).sampler == name
    assert sampler_named(name.lower()).sampler == name
    assert sampler_named(name.upper()).note == ""
    spacing = next((spacing for spacing in SPACINGS if name.endswith(spacing)), "")
    found = sampler_named(name.removesuffix(spacing).strip(), spacing)
    assert (found.sampler, found.note) == (name, "")


@pytest.mark.parametrize(
    ("name", "schedule", "sampler"),
    [
        ("PLMS", "", "PNDM"),
        ("Euler a", "Automatic", "Euler a"),
        ("DPM++ 2M", "Automatic", "DPM++ 2M Karras"),
        ("DPM++ 2M SDE", "Automatic", "DPM++ 2M SDE Exponential"),
        ("DPM++ 2M", "Uniform", "DPM++ 2M"),
        ("DPM++ 2M", "", "DPM++ 2M"),
        ("dpmpp_2m_karras", "", "DPM++ 2M Karras"),
        ("dpmpp_2m", "karras", "DPM++ 2M Karras"),
        ("euler_ancestral", "", "Euler a"),
        ("  Euler   a ", "", "Euler a"),
    ],
)
def test_other_programs_names_for_the_same(name: str, schedule: str, sampler: str) -> None:
    found = sampler_named(name, schedule)
    assert (found.sampler, found.note) == (sampler, "")


@pytest.mark.parametrize(
    ("name", "schedule", "sampler"),
    [
        ("DPM++ 2S a Karras", "", "DPM++ SDE Karras"),
        ("LMS Karras", "", "DPM++ 2M Karras"),
        ("Restart", "", "Heun"),
        ("DDIM CFG++", "", "DDIM"),
        ("Euler a", "Karras", "Euler a"),
        ("Euler", "Simple", "Euler SGM Uniform"),
        ("DPM++ 2M", "Align Your Steps", "DPM++ 2M Karras"),
        ("Euler", "Beta", "Euler"),
        ("DEIS Karras", "", "DEIS"),
        ("Nonsense", "", ""),
        ("Nonsense Karras", "", ""),
    ],
)
def test_what_is_not_here_gets_the_nearest_and_says_so(name: str, schedule: str, sampler: str) -> None:
    found = sampler_named(name, schedule)
    assert found.sampler == sampler
    assert f"“{f'{name} {schedule}'.strip()}”" in found.note


def test_no_name_asks_for_nothing() -> None:
    assert (sampler_named("").sampler, sampler_named(" ", "Karras").note) == ("", "")


def test_all_that_the_tables_lead_to_is_there() -> None:
    assert {*SAME.values(), *NEAR.values()} <= set(SAMPLERS)
    assert set(NEAR_SPACINGS.values()) <= {"", *SPACINGS}
    assert not set(SAMPLERS) & {*SAME, *NEAR}


def test_the_table_in_the_documentation_is_this_one() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (CHECKOUT / "docs" / "prompts.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and "Scheduler`" in line
    ]
    told = {}
    for method, spacings, scheduler, _ in rows:
        for spacing in ("", *(part for part in spacings.split(", ") if part != "-")):
            told[f"{method} {spacing}".strip()] = (scheduler, SPACINGS.get(spacing, {}))
    assert list(told) == list(SAMPLERS)
    for name, (scheduler, spacing) in told.items():
        own = {key: value for key, value in SAMPLERS[name].options.items() if key not in spacing}
        options = ", ".join(f"{key}={value}" for key, value in own.items())
        assert scheduler == f"`{SAMPLERS[name].scheduler}`{f' ({options})' if options else ''}"
