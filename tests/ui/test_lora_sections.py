"""The folded sections about a LoRA: each is read when it is asked for, and says what it can't show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_studio.errors import StoreError
from lora_studio.records import LoraRecord
from lora_studio.studio import Studio
from lora_studio.training_request import StartTraining
from lora_studio.ui.gallery.lora_sections import MOST_SHOWN, SECTIONS, sections_of, settings_of
from lora_studio.ui.train.checkpoint_panel import Changed
from lora_studio.ui.upload.example_pictures import example_files
from tests.support.html import parse
from tests.support.library_entries import write_lora, write_result

ALL = [section.name for section in SECTIONS]


@pytest.fixture
def result(studio: Studio) -> LoraRecord:
    write_result(studio.settings, "sectioned", ss_steps="100", odd="<b>x</b>")
    studio.gallery.scan()
    return studio.gallery.lora("sectioned")


def read(studio: Studio, slug: str, *names: str) -> dict[str, str]:
    """The text of the sections that are unfolded, by their names."""
    found = parse(sections_of(studio, slug, names))
    opened = [one for one in found.iter("details") if one.get("open")]
    return {str(one.get("data-section")): " ".join("".join(one.itertext()).split()) for one in opened}


def test_nothing_is_read_before_it_is_unfolded(studio: Studio, result: LoraRecord) -> None:
    assert read(studio, result.slug) == {}
    assert list(read(studio, result.slug, "metadata", "no such section")) == ["metadata"]
    assert list(read(studio, result.slug, *ALL)) == ALL
    with pytest.raises(StoreError):
        sections_of(studio, "not-there")


def test_facts_come_from_the_files(studio: Studio, result: LoraRecord) -> None:
    text = read(studio, result.slug, *ALL)
    assert "ss_network_dim" in text["metadata"]
    assert "<b>x</b>" in text["metadata"], "as text"
    assert result.id in text["metadata"]
    assert "Step 100" in text["previews"]
    assert "Step 50" in text["previews"]
    assert all(name in text["programs"] for name in ("ComfyUI", "Forge", "InvokeAI", "diffusers"))
    assert "not on this machine" in text["pictures"]


def test_a_checkpoint_is_put_in_use_and_back(studio: Studio, result: LoraRecord) -> None:
    shown = sections_of(studio, result.slug, ["checkpoints"])
    offered = [one.get("data-step") for one in parse(shown).iter("button")]
    assert offered == ["50"]
    before = studio.gallery.use_checkpoint(result.slug, 50)
    after = sections_of(studio, result.slug, ["checkpoints"], Changed(before=before))
    assert f"back to step {before}" in after


def test_a_training_leads_to_its_settings_its_page_and_its_pictures(studio: Studio) -> None:
    dataset = studio.datasets.create("Ink", example_files("ink"))
    job = studio.trainings.start(StartTraining(dataset_id=dataset.id, name="Own set", kind="style"))
    write_lora(studio.settings.loras / job.slug / f"{job.slug}.safetensors")
    studio.gallery.scan()
    found = sections_of(studio, job.slug, ["training", "pictures"])
    assert f"training={job.id}" in found
    assert "max_train_steps" in found
    assert f'data-id="{dataset.id}"' in found
    assert len([one for one in parse(found).iter("img") if one.get("src")]) == dataset.images
    studio.jobs.stop(job.id)
    studio.datasets.delete(dataset.id)
    assert "deleted" in read(studio, job.slug, "pictures")["pictures"]


@pytest.mark.parametrize(
    "notes",
    [
        *({}, {"config": 7}, {"config": {"dataset": []}}, {"config": {"dataset": {"train_data_dir": {}}}}),
        {"config": {"dataset": {"train_data_dir": "/etc"}}, "result": [], "board": "x"},
        {"config": {"a": {f"<i>{number}": "\0" * 9 for number in range(3000)}}, "result": {"images": [[]]}},
    ],
)
def test_a_strangers_notes_are_used_as_far_as_they_fit(
    studio: Studio, result: LoraRecord, notes: object
) -> None:
    (Path(result.path).parent / "training.json").write_text(json.dumps(notes))
    text = read(studio, result.slug, *ALL)
    assert "not on this machine" in text["pictures"]
    assert text["training"]


def test_settings_are_the_main_ones_and_those_that_differ() -> None:
    config = {
        "optimizer": {"max_train_steps": 30, "learning_rate": 1e-4, "lr_scheduler": "constant"},
        "noise": {"noise_offset": 0.05, "min_snr_gamma": None},
        "output": {"output_dir": "/home/ada/x", "save_precision": "bf16"},
        "network": {"network_weights": "/home/ada/first.safetensors"},
    }
    shown = dict(settings_of(config))
    assert shown["max_train_steps"] == "30"
    assert shown["noise_offset"] == "0.05"
    assert "output_dir" not in shown
    assert shown["network_weights"] == "first.safetensors", "a shared LoRA doesn't name folders"
    assert "min_snr_gamma" not in shown, "as it is by itself"
    assert len(settings_of({"a": {f"noise_{n}": n for n in range(3 * MOST_SHOWN)}})) == 0
