"""The Gallery's look into LoRA files: what the panel shows of a stranger's file, and names to merge."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import gradio as gr
import pytest

from lora_studio.access.roles import Role
from lora_studio.access.visitor import Visitor, acting
from lora_studio.errors import ConfigError, NotAllowed, StoreError
from lora_studio.lora.inspection.file_report import inspect_file
from lora_studio.lora.inspection.lora_report import LoraReport
from lora_studio.lora.repair.repair_request import RepairRequest
from lora_studio.settings import Settings
from lora_studio.studio import Studio
from lora_studio.ui.endpoints.inspection_endpoints import LoraInspection, inspection
from lora_studio.ui.gallery.inspect_panel import LABELS, labelled, render, view
from tests.support.html import parse
from tests.support.strange_loras import STRANGE, strange_lora

MARKUP = {"modelspec.title": "<script>x</script>", "ss_sd_model_name": "/home/<b>ada</b>/x ${1}.safetensors"}


def test_nothing_of_a_file_becomes_markup(tmp_path: Path) -> None:
    page = view(inspect_file(strange_lora(tmp_path / "<i>ink</i>.safetensors", MARKUP)))
    assert "<script" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    parse(page)


def test_api_and_page_say_what_can_be_mended(tmp_path: Path) -> None:
    report = inspect_file(strange_lora(tmp_path / "ink.safetensors", MARKUP))
    assert "strip_private" in {one["fix"] for one in inspection(report)["suggestions"]}
    page = view(report)
    assert "<dt>Leave out private metadata</dt>" in page
    assert "strip_private" not in page
    left_out = {one.name for one in fields(LoraReport)} - LoraInspection.__annotations__.keys()
    assert left_out == {"size_bytes", "base", "family_source", "embeddings"}


def test_a_repair_has_the_label_of_its_field() -> None:
    assert labelled("spelling=kohya") == "Names of layers: kohya"
    assert LABELS.keys() == {one.name for one in fields(RepairRequest)}
    with gr.Blocks():
        parts = render(Settings.from_environment())
    assert {name: field.label for name, field in parts.fields.items()} == LABELS


@pytest.mark.parametrize("name", STRANGE)
def test_a_report_stays_small(tmp_path: Path, name: str) -> None:
    assert len(view(inspect_file(strange_lora(tmp_path / "x.safetensors", STRANGE[name])))) < 30_000


def test_names_with_ratios_are_read(studio: Studio, tmp_path: Path) -> None:
    for title, value in (("Ink: black", 1.0), ("cat", 2.0)):
        studio.gallery.import_lora(
            strange_lora(tmp_path / "x.safetensors", {"modelspec.title": title}, value=value)
        )
    read = studio.inspector.named(" Ink: black: -0.5,cat")
    assert [ratio for _, ratio in read] == [-0.5, 1.0]
    assert [studio.gallery.lora(slug).title for slug, _ in read] == ["Ink: black", "cat"]
    for wrong in ("", "cat:", "cat: much", "cat: 1e9", ": 1", "cat,,cat"):
        with pytest.raises(ConfigError):
            studio.inspector.named(wrong)
    with pytest.raises(StoreError):
        studio.inspector.named("nobody: 1")
    with pytest.raises(ConfigError):  # told before the first of them is looked for
        studio.inspector.named(",".join(["nobody"] * 1000))


def test_a_copy_without_private_metadata_is_a_lora_of_its_own(studio: Studio, tmp_path: Path) -> None:
    """Its tensors are the old one's, which an import would answer with."""
    file = strange_lora(tmp_path / "x.safetensors", {"ss_sd_model_name": "/home/ada/x.safetensors"})
    old = studio.gallery.import_lora(file)
    made = studio.inspector.result_of(studio.inspector.repair(old.slug, RepairRequest(strip_private=True)))
    assert made is not None
    new, notes = made
    assert (new.id, notes) == (old.id, [])
    assert new.slug != old.slug
    assert "ada" not in str(studio.gallery.lora(new.slug).metadata)
    assert "ada" in str(studio.gallery.lora(old.slug).metadata)
    assert not list(studio.settings.uploads.glob("link-*"))


def test_who_only_looks_gets_no_copy_and_loads_no_base(studio: Studio, tmp_path: Path) -> None:
    slug = studio.gallery.import_lora(strange_lora(tmp_path / "x.safetensors")).slug
    with acting(Visitor(name="eve", role=Role.VIEWER)):
        with pytest.raises(NotAllowed):
            studio.inspector.repair(slug, RepairRequest(strip_private=True))
        with pytest.raises(NotAllowed):
            studio.inspector.merge([(slug, 1.0), (slug, 1.0)], RepairRequest())
        with pytest.raises(NotAllowed):
            studio.inspector.inspect_file(tmp_path / "x.safetensors", "starter")
