"""scripts/bench/growth.py: it measures each of its parts, a steep one is told from a linear one, and the
chart shows them all."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts.bench.growth import FLAT, STEEP, SUBJECTS, exponent, main, shown
from scripts.bench.parts.growth_chart import LINE, Curve, apart, drawn
from scripts.bench.parts.page_tick import PAGE
from tests.support.gradio_leftovers import IGNORE

SVG = "{http://www.w3.org/2000/svg}"


def test_the_exponent_tells_linear_from_worse() -> None:
    assert exponent({10: 0.01, 100: 0.1, 1000: 1.0}) == pytest.approx(1.0)
    assert exponent({10: 0.01, 100: 0.1, 1000: 10.0}) == pytest.approx(1.5)
    assert exponent({10: 9.0, 100: 0.01, 1000: 0.1, 10_000: 1.0}) == pytest.approx(1.0), "the largest three"
    assert exponent({100: 0.0001, 1000: 0.002}) is None
    assert exponent({100: 0.002, 1000: 0.0001}) is None


def test_what_is_worse_than_it_should_be_is_marked() -> None:
    steep = {what: shown(Curve(what=what, seconds={}, exponent=0.5)) for what in ("scan", f"{PAGE}a step")}
    assert steep == {"scan": "0.50", f"{PAGE}a step": "0.50 STEEP"}
    assert "STEEP" in shown(Curve(what="scan", seconds={}, exponent=1.2))
    assert FLAT < 0.5 < STEEP < 1.2
    assert shown(Curve(what="scan", seconds={}, exponent=None)) == ""


def test_the_chart_names_each_curve_and_no_name_covers_another() -> None:
    curves = [
        Curve(what=f"part <{number}>", seconds={10: 0.001, 100: 0.01}, exponent=1.0) for number in range(9)
    ]
    root = ElementTree.fromstring(drawn({"pictures": curves, "LoRAs": curves[:2]}))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert [text for text in texts if text in ("pictures", "LoRAs")] == ["pictures", "LoRAs"]
    assert texts.count("part <0> · 1.00") == 2
    assert len(list(root.iter(f"{SVG}polyline"))) == 11
    heights = sorted(apart({curve.what: 30.0 for curve in curves}).values())
    assert all(later - earlier >= LINE for earlier, later in itertools.pairwise(heights))


@pytest.mark.slow
@IGNORE
def test_all_parts_are_measured(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--most", "100", "--json", "--chart", str(tmp_path / "growth.svg")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [*found] == [*SUBJECTS]
    for name, curves in found.items():
        sizes = ["100"] if name == "steps of a log" else ["10", "100"]
        assert all([*curve["seconds"]] == sizes for curve in curves)
        assert all(spent >= 0 for curve in curves for spent in curve["seconds"].values())
        paged = [curve["what"] for curve in curves if curve["what"].startswith(PAGE)]
        assert len(paged) == (0 if name == "pictures" else 3)
    assert (tmp_path / "growth.svg").read_text("utf-8").count("<polyline") == sum(map(len, found.values()))
