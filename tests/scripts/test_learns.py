"""The verdict of scripts/bench/learns.py, and that it asks for what the example sets do not show."""

from __future__ import annotations

import pytest
from PIL import Image

from lora_studio.settings import CHECKOUT
from scripts.bench.learns import SUBJECTS, Measures, as_markdown, saturation, summarise


def runs(*gains: float, kept: float = 0.8) -> list[dict[str, Measures]]:
    """One run a seed: the LoRA gains this much share saves as much distance, keeps the things asked."""
    base = Measures(share=0.1, asked=0.9, distance=5.0, saturation=0.4)
    return [
        {
            "base, trigger": base,
            "LoRA, trigger": Measures(share=0.1 + gain, asked=kept, distance=5.0 - gain, saturation=0.1),
            "base, no trigger": base,
            "LoRA, no trigger": Measures(share=0.1 + gain / 2, asked=0.9, distance=5.0, saturation=0.3),
        }
        for gain in gains
    ]


@pytest.mark.parametrize(
    ("gains", "faults"),
    [((0.5, 0.6, 0.55), 0), ((0.5, -0.2, 0.1), 2), ((0.0, 0.0, 0.0), 2), ((-0.3, -0.3, -0.3), 2)],
)
def test_a_margin_counts_beyond_twice_its_spread(gains: tuple[float, ...], faults: int) -> None:
    assert len(summarise(runs(*gains))["faults"]) == faults


def test_a_style_that_loses_the_things_asked_for_is_a_fault() -> None:
    (fault,) = summarise(runs(0.5, 0.5, kept=0.4))["faults"]
    assert fault == "the things asked for are lost: 0.400 of 0.900 recognised"


def test_the_summary_states_means_and_spread() -> None:
    summary = summarise(runs(0.4, 0.6))
    assert summary["margins"]["share gained"] == {"mean": 0.5, "sd": 0.1414}
    assert summary["margins"]["share gained without the trigger"]["mean"] == 0.25
    own = {"share": 0.99, "asked": None, "distance": 1.0, "saturation": 0.0}
    table = as_markdown("ink", {**summary, "set": own})
    assert "| LoRA, trigger | 0.600 ± 0.141 | 0.800 ± 0.000 | 4.50 ± 0.14 | 0.100 ± 0.000 |" in table
    assert "- share gained: +0.500 ± 0.141" in table
    assert "FAULT" not in table


def test_saturation() -> None:
    assert saturation(Image.new("RGB", (4, 4), "red")) == 1.0
    assert saturation(Image.new("RGB", (4, 4), "gray")) == 0.0


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_prompts_fit_the_set(name: str) -> None:
    captions = {path.read_text("utf-8").strip() for path in (CHECKOUT / "examples" / name).glob("*.txt")}
    for asked in SUBJECTS[name].rounds:
        assert len(asked.prompts) == len(asked.things)
        assert all(("zwx" in prompt) == (asked.name == "trigger") for prompt in asked.prompts)
    with_trigger = set(SUBJECTS[name].rounds[0].prompts)
    assert with_trigger - captions
    if name == "ink":
        assert not with_trigger & captions
