"""The folded sections about the chosen LoRA: each is read when it is unfolded, so that choosing a LoRA costs
the same however much there is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from lora_studio.access.visitor import Kind, visitor
from lora_studio.config import config_leaves
from lora_studio.data.pixels.thumbnails import thumbnail, thumbnail_folder
from lora_studio.errors import StudioError
from lora_studio.formatting import counted, moment, size
from lora_studio.jobs.comparison.run_comparison import shown_to_others
from lora_studio.lora.checkpoints import checkpoint_files, chosen_step
from lora_studio.lora.lora_folder import read_notes
from lora_studio.parsing.plain_text import plain_text
from lora_studio.records import LoraRecord
from lora_studio.store.job_lists import curve_points, job_of_lora
from lora_studio.studio import Studio
from lora_studio.ui.client_input.validate import QUICK, guarded, safe_slug
from lora_studio.ui.gallery import card_panel, export_panel, publish_panel
from lora_studio.ui.gallery.inspect_panel import labelled
from lora_studio.ui.train.checkpoint_panel import Changed, board_of, cast_vote, put_in_use
from lora_studio.ui.train.train_tab import validated
from lora_studio.ui.train.training_chart import CHART_JS, curves
from lora_studio.ui.widgets.cards import preview_rounds
from lora_studio.ui.widgets.html_templates import fill, panel

SECTIONS_JS = Path(__file__).with_name("lora_sections.js").read_text("utf-8")
UNCHANGED = Changed()
PICTURES_SHOWN, ROUNDS_SHOWN = 12, 12
LONGEST_PATH = 4000
LONGEST_SHOWN = 300
"""Characters of a setting or of a value of the metadata."""
MOST_SHOWN = 200
"""Settings and values that are listed."""
NAMED_FIRST = (
    *("max_train_steps", "train_batch_size", "resolution", "network_dim", "network_alpha"),
    *("learning_rate", "lr_scheduler", "optimizer_type", "seed"),
)
"""Settings that are listed although they may be the defaults."""
OF_THIS_MACHINE = frozenset(
    {"output_dir", "output_name", "train_data_dir", "pretrained_model_name_or_path", "title", "resume"}
)
"""Settings that the card or another section has."""


@dataclass(frozen=True, kw_only=True)
class LoraSection:
    """A section: its name, its title, and what makes its HTML."""

    name: str
    title: str
    read: Callable[[Studio, LoraRecord], str]


def render() -> gr.HTML:
    """Create the component. Call in the column of a LoRA's details."""
    return panel(elem_id="gallery-lora-sections", actions=f"{SECTIONS_JS}{{\n{CHART_JS}\n}}")


def listen(shown: gr.HTML, studio: Studio) -> list[Any]:
    """Wire the sections; returns the events after which the page has to be refreshed."""

    def unfold(event: gr.EventData) -> str:
        return sections_of(studio, safe_slug(getattr(event, "slug", None)), _unfolded(event))

    def use(event: gr.EventData) -> str:
        slug, changed = put_in_use(studio, event)
        return sections_of(studio, slug, _unfolded(event), changed)

    def vote(event: gr.EventData) -> str:
        slug, changed = cast_vote(studio, event)
        return sections_of(studio, slug, _unfolded(event), changed)

    shown.expand(guarded(unfold), None, shown, trigger_mode="always_last", **QUICK)
    return [
        shown.click(guarded(use), None, shown, **QUICK),
        shown.submit(guarded(vote), None, shown, **QUICK),
    ]


def _unfolded(event: gr.EventData) -> list[str]:
    given = getattr(event, "sections", None)
    return [name for name in given if isinstance(name, str)] if isinstance(given, list) else []


def sections_of(
    studio: Studio, slug: str, unfolded: Collection[str] = (), changed: Changed = UNCHANGED
) -> str:
    """HTML of the sections, those of `unfolded` with what is in them; `changed` is what a click has just made
    of the checkpoints. One that can't be read says why. Raises StoreError for a LoRA that isn't here."""
    record = studio.gallery.lora(slug)
    rows = []
    for section in SECTIONS:
        body = _body(section, studio, record, changed) if section.name in unfolded else ""
        rows.append((section.name, section.title, Markup(body)))
    return fill("sections", slug=record.slug, sections=rows)


def _body(section: LoraSection, studio: Studio, record: LoraRecord, changed: Changed) -> str:
    try:
        if section.name == "checkpoints":
            return checkpoints(studio, record, changed)
        return section.read(studio, record)
    except StudioError as error:
        return fill("section_note", sentence=str(error))


def previews(studio: Studio, record: LoraRecord) -> str:
    """HTML of the previews of each step, newest first."""
    rounds = preview_rounds(record.previews)
    if not rounds:
        return fill("section_note", sentence="No preview was drawn while it was trained.")
    hidden = len(rounds) - ROUNDS_SHOWN
    older = f"{counted(hidden, 'older step is', 'older steps are')} not shown." if hidden > 0 else ""
    return fill("section_previews", rounds=rounds[:ROUNDS_SHOWN], title=record.title, older=older)


def checkpoints(studio: Studio, record: LoraRecord, changed: Changed = UNCHANGED) -> str:
    """HTML of the checkpoint report; without one, of the list of checkpoints."""
    if report := board_of(studio, record.slug, changed):
        return report
    folder = Path(record.path).parent
    used = chosen_step(folder)
    steps = sorted({*checkpoint_files(folder), *([used] if used else [])})
    if len(steps) < 2:
        return fill("section_note", sentence="There is one checkpoint: the LoRA's own file.")
    return fill("section_checkpoints", slug=record.slug, steps=steps, used=used, before=changed.before)


def training(studio: Studio, record: LoraRecord) -> str:
    """HTML of the loss and the settings of its training."""
    job = job_of_lora(studio.database, record.slug)
    notes = read_notes(Path(record.path).parent)
    config = job.config if job else notes.get("config")
    kept = notes.get("result")
    result: dict[str, Any] = kept if isinstance(kept, dict) else {}
    if not isinstance(config, dict):
        return fill(
            "section_note",
            sentence="It was not trained here. What its file says of its training stands under Metadata.",
        )
    chart = ""
    if job is not None:
        points = curve_points(studio.database, job.id)
        chart = curves(points, job.total_steps, validated(studio, job.id))
    facts = [
        ("trained", moment(job.finished_at) if job and job.finished_at else ""),
        ("pictures", plain_text(str(result.get("images") or ""), 20)),
        ("device", plain_text(result.get("device"), LONGEST_SHOWN)),
    ]
    settings = settings_of(config)
    if not (settings or chart):
        return fill("section_note", sentence="Its settings were not written down.")
    return fill(
        "section_training",
        job=job,
        chart=Markup(chart),
        facts=[(name, value) for name, value in facts if value],
        settings=settings,
    )


def settings_of(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of the settings of a run: the main ones, then those that differ from the defaults. The
    file they come from may be a stranger's."""
    groups = [group for group in config.values() if isinstance(group, dict)]
    values = {str(name): value for group in groups for name, value in group.items()}
    defaults = {leaf.name: leaf.default for leaf in config_leaves()}
    others = [
        name
        for name, value in values.items()
        if name not in {*NAMED_FIRST, *OF_THIS_MACHINE}
        if name in defaults and _plain(defaults[name]) != _plain(value)
    ]
    named = [name for name in (*NAMED_FIRST, *sorted(others)) if name in values]
    return [(plain_text(name, 80), _plain(shown_to_others(values[name]))) for name in named[:MOST_SHOWN]]


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    text = {True: "yes", False: "no"}.get(value) if isinstance(value, bool) else str(value)
    return plain_text(text, LONGEST_SHOWN) or "–"


def learned_from(studio: Studio, record: LoraRecord) -> str:
    """HTML of some pictures that it was trained on, where the set is still here and may be seen."""
    job = job_of_lora(studio.database, record.slug)
    config = job.config if job else read_notes(Path(record.path).parent).get("config")
    folder, version = _training_pictures(config)
    if folder is None or folder.parent != studio.settings.datasets:
        return fill("section_note", sentence="Its training pictures are not on this machine.")
    if not visitor().sees(Kind.DATASET, folder.name):
        return fill("section_note", sentence="Its training pictures are somebody else's.")
    try:
        dataset = studio.datasets.get(folder.name)
        pictures = studio.datasets.pictures(folder.name, version=version)
    except StudioError:
        return fill("section_note", sentence="Its training pictures were deleted.")
    tiles = [
        (thumbnail(path, thumbnail_folder(path, studio.settings)), caption)
        for path, caption in pictures[:PICTURES_SHOWN]
    ]
    return fill("section_pictures", dataset=dataset, tiles=tiles, total=len(pictures), job=job)


def _training_pictures(config: Any) -> tuple[Path | None, str]:
    """The folder that a training had its pictures from, and the version of its edits."""
    try:
        data = config["dataset"]
        version = plain_text(data.get("dataset_version"), LONGEST_PATH)
        return Path(plain_text(data["train_data_dir"], LONGEST_PATH) or "-"), version
    except (AttributeError, KeyError, TypeError):
        return None, ""


def metadata(studio: Studio, record: LoraRecord) -> str:
    """HTML of the file's facts and of the metadata in its header."""
    facts = [
        ("file", Path(record.path).name),
        ("size", size(record.size_bytes)),
        ("folder", record.slug),
        ("hash (SHA-256 of the tensors)", record.id),
    ]
    rows = [(key, value[:LONGEST_SHOWN]) for key, value in sorted(record.metadata.items())]
    hidden = len(rows) - MOST_SHOWN
    others = f"{counted(hidden, 'more value is', 'more values are')} not shown." if hidden > 0 else ""
    return fill("section_metadata", facts=facts, rows=rows[:MOST_SHOWN], others=others)


def programs(studio: Studio, record: LoraRecord) -> str:
    """HTML of what A1111, Forge, ComfyUI, InvokeAI and diffusers make of the file, and what can be mended."""
    report = studio.inspector.inspect(record.slug)
    mended = [(labelled(one.fix), one.reason) for one in report.suggestions]
    return fill("section_programs", report=report, mended=mended)


SECTIONS = (
    LoraSection(name="checkpoints", title="Checkpoints", read=checkpoints),
    LoraSection(name="previews", title="Previews of each step", read=previews),
    LoraSection(name="training", title="Its training", read=training),
    LoraSection(name="pictures", title="The pictures it learned from", read=learned_from),
    LoraSection(name="programs", title="Will it work in other programs?", read=programs),
    LoraSection(name="metadata", title="File and metadata", read=metadata),
)
"""The sections, in their order."""


@dataclass(frozen=True, kw_only=True)
class LoraTools:
    """The folds that do something with the LoRA: model card, file for another program, the Hub."""

    card: card_panel.CardParts
    export: export_panel.ExportParts
    publish: publish_panel.PublishParts


def render_tools() -> LoraTools:
    """Create the folds. Call in the column of a LoRA's details."""
    return LoraTools(card=card_panel.render(), export=export_panel.render(), publish=publish_panel.render())


def listen_tools(tools: LoraTools, chosen: gr.Textbox, studio: Studio) -> list[Any]:
    """Wire the folds; returns the events after which the page has to be refreshed."""
    export_panel.listen(tools.export, chosen, studio)
    publish_panel.listen(tools.publish, chosen, studio)
    return card_panel.listen(tools.card, chosen, studio)
