from __future__ import annotations

from dataclasses import replace

import pytest

from lora_studio.events import never_stop
from lora_studio.studio import Studio
from lora_studio.ui.endpoints.endpoints import Endpoints
from lora_studio.ui.upload import estimate_panel as page
from lora_studio.ui.upload.example_pictures import example_files
from lora_studio.ui.upload.setup_panel import plan_training
from tests.support.configs import ESTIMATE
from tests.support.refusals import refused

PLAN = replace(ESTIMATE, device="CPU, <2> threads")
QUICK = {"max_train_steps": 5, "sample_steps": 2, "resolution": 32, "sample_every_n_steps": 0}


def test_the_sentence_comes_first_and_the_figures_behind_it() -> None:
    shown = page.view(PLAN)
    assert "About 4 min, 690 MB of RAM, 12 MB on the disk." in shown
    assert "largest pictures: 64 × 64" in shown
    assert "CPU, &lt;2&gt; threads" in shown
    assert "stopped" in page.view(None)


def test_what_it_notes_has_the_labels_of_the_page() -> None:
    shown = page.view(replace(PLAN, notes=("Drawn 2 times. max_preview_share allows more.",)))
    assert "“Share of time for previews” allows more." in shown
    assert "max_preview_share" not in shown


def test_a_plan_needs_pictures_and_a_kind_but_no_name(studio: Studio) -> None:
    with refused("pictures"):
        plan_training(studio, [None] * 5, {}, never_stop)
    dataset = studio.datasets.create("Alien", example_files("alien"))
    with refused("kind"):
        plan_training(studio, [dataset.id, None, None, None, None], {}, never_stop)
    plan = plan_training(studio, [dataset.id, "object", "", "zwx", "starter"], QUICK, never_stop)
    assert plan is not None
    assert (plan.steps, plan.images, plan.preview_seconds) == (5, 10, 0)
    assert not list(studio.settings.loras.iterdir())
    assert not studio.jobs.jobs()
    assert studio.lease.holder == ""


def test_a_plan_that_waits_for_the_device_can_be_stopped(studio: Studio) -> None:
    dataset = studio.datasets.create("Alien", example_files("alien"))
    with studio.lease.hold("training"):
        assert (
            plan_training(studio, [dataset.id, "object", "", "zwx", "starter"], QUICK, lambda: True) is None
        )


def test_the_endpoint_answers_with_figures(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "lora_studio.training_setup.measure", lambda config, emit, should_stop: asked.append(config) or PLAN
    )
    dataset = studio.datasets.create("Alien", example_files("alien"))
    answer = Endpoints(studio).plan_training(dataset.id, "object", options={"max_train_steps": 300})
    assert answer["sentence"] == PLAN.sentence
    assert answer["total_seconds"] == 240
    assert asked[0].optimizer.max_train_steps == 300
