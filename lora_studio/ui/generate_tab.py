"""The Generate tab: a prompt, any LoRAs with their weights, pictures beside the base's own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.catalog import SAMPLERS
from lora_studio.studio import Studio
from lora_studio.ui import cards
from lora_studio.ui.form import number_box
from lora_studio.ui.gallery_tab import existing_lora
from lora_studio.ui.generating import (
    FIELD_TITLES,
    SLOTS,
    Painter,
    build_request,
    defaults_of,
    finished,
    ideas_for,
    lora_choices,
    slots,
)
from lora_studio.ui.guard import base_names, guarded, safe_slug
from lora_studio.ui.markup import ACTIONS_JS, fill, hidden, panel
from lora_studio.ui.stops import Stops
from lora_studio.ui.upload_tab import DEFAULT_BASE

SPECIAL_SAMPLER = "the base's own"


@dataclass(frozen=True, kw_only=True)
class GenerateTab:
    prompt: gr.Textbox
    ideas: gr.HTML
    loras: gr.Dropdown
    weights: tuple[gr.Slider, ...]
    order: gr.JSON
    triggers: gr.HTML
    compare: gr.Checkbox
    count: gr.Textbox
    seed: gr.Textbox
    random: gr.Button
    reuse: gr.Button
    last_seed: gr.Textbox
    negative: gr.Textbox
    base: gr.Dropdown
    steps: gr.Textbox
    guidance: gr.Textbox
    width: gr.Textbox
    height: gr.Textbox
    sampler: gr.Dropdown
    insert: gr.Checkbox
    go: gr.Button
    stop: gr.Button
    results: gr.HTML

    @property
    def fields(self) -> dict[str, Any]:
        """Inputs of a generation by name; the weights follow."""
        names = (
            "prompt",
            "loras",
            "compare",
            "count",
            "seed",
            "negative",
            "base",
            "steps",
            "guidance",
            "width",
        )
        return {name: getattr(self, name) for name in (*names, "height", "sampler", "insert")}

    @property
    def filled(self) -> list[Any]:
        """What "use it" and "use these settings" fill in, in the order of `use_lora` and `use_image`."""
        return [
            self.prompt,
            self.negative,
            self.loras,
            self.order,
            self.base,
            self.seed,
            self.steps,
            self.guidance,
            self.width,
            self.height,
            self.sampler,
            *self.weights,
        ]


def render(studio: Studio) -> GenerateTab:
    """Create the components. Call inside a Tab."""
    parts: dict[str, Any] = {"last_seed": hidden("generate-last-seed"), "order": gr.JSON([], visible=False)}
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            parts["prompt"] = gr.Textbox(
                label="Prompt",
                lines=3,
                max_lines=8,
                elem_id="generate-prompt",
                placeholder="What the picture shows",
            )
            parts["ideas"] = panel(
                cards.ideas(ideas_for(DEFAULT_BASE)), elem_id="generate-ideas", actions=ACTIONS_JS
            )
            parts |= _render_loras(studio)
            parts |= _render_counts()
            with gr.Row():
                parts["go"] = gr.Button("Generate", variant="primary", elem_id="generate-go")
                parts["stop"] = gr.Button("Stop", variant="stop", visible=False, elem_id="generate-stop")
            with gr.Accordion("More settings", open=False, elem_id="generate-more"):
                parts |= _render_more(studio)
        with gr.Column(scale=3, min_width=320):
            parts["results"] = panel(fill("no_results"), elem_id="generate-results", actions=ACTIONS_JS)
    return GenerateTab(**parts)


def _render_loras(studio: Studio) -> dict[str, Any]:
    loras = gr.Dropdown(
        lora_choices(studio.gallery.loras()),
        value=[],
        multiselect=True,
        max_choices=SLOTS,
        label="LoRAs",
        info=f"Up to {SLOTS} together, each with its weight.",
        interactive=True,
        elem_id="generate-loras",
    )
    weights = tuple(
        gr.Slider(-1, 2, value=1, step=0.05, label="Weight", visible=False, elem_id=f"generate-weight-{slot}")
        for slot in range(SLOTS)
    )
    return {"loras": loras, "weights": weights, "triggers": panel(elem_id="generate-triggers")}


def _render_counts() -> dict[str, Any]:
    parts: dict[str, Any] = {}
    parts["compare"] = gr.Checkbox(
        False,
        label="Compare with the base",
        info="The same seed without LoRA beside each picture.",
        elem_id="generate-compare",
    )
    with gr.Row():
        parts["count"] = number_box(
            label="Pictures", placeholder="1", elem_id="generate-count", min_width=100, interactive=True
        )
        parts["seed"] = number_box(
            label="Seed", placeholder="random", elem_id="generate-seed", min_width=120, interactive=True
        )
    with gr.Row():
        parts["random"] = gr.Button("Random seed", size="sm", elem_id="generate-random", min_width=110)
        parts["reuse"] = gr.Button("Last seed again", size="sm", elem_id="generate-reuse", min_width=110)
    return parts


def _render_more(studio: Studio) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    parts["negative"] = gr.Textbox(
        label="Negative prompt", info="What must not be seen.", lines=2, elem_id="generate-negative"
    )
    parts["base"] = gr.Dropdown(
        base_names(studio.settings),
        value=DEFAULT_BASE,
        label="Base model",
        interactive=True,
        allow_custom_value=not studio.settings.on_space,
        elem_id="generate-base",
    )
    own = defaults_of(DEFAULT_BASE)
    for row in (("steps", "guidance"), ("width", "height")):
        with gr.Row():
            for name in row:
                parts[name] = number_box(
                    label=FIELD_TITLES[name],
                    placeholder=own[name],
                    elem_id=f"generate-{name}",
                    min_width=110,
                    interactive=True,
                )
    parts["sampler"] = gr.Dropdown(
        [(SPECIAL_SAMPLER, ""), *((name, name) for name in SAMPLERS)],
        value="",
        label="Sampler",
        interactive=True,
        elem_id="generate-sampler",
    )
    parts["insert"] = gr.Checkbox(
        True, label="Put trigger words in front of the prompt", elem_id="generate-insert"
    )
    return parts


def listen(tab: GenerateTab, studio: Studio) -> list[Any]:
    """Wire the tab. Returns the events after which the page has to be brought up to date."""
    stops = Stops()
    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    names = tuple(tab.fields)

    def paint(request: gr.Request, *values: Any, progress: gr.Progress = gr.Progress()) -> list[Any]:
        given = dict(zip(names, values, strict=False))
        wanted = build_request(given, values[len(names) :], studio)
        started = time.monotonic()
        with stops.watch(request.session_hash or "") as should_stop:
            made = Painter(studio, progress).paint(wanted, bool(given["compare"]), should_stop)
            return finished(made, time.monotonic() - started, stopped=should_stop())

    def stop(request: gr.Request) -> None:
        if stops.ask(request.session_hash or ""):
            gr.Info("Stopping after this step.")

    buttons = [tab.go, tab.stop]
    running = tab.go.click(lambda: busy(True), None, buttons, **quick).then(
        guarded(paint),
        [*tab.fields.values(), *tab.weights],
        [tab.results, tab.last_seed],
        concurrency_id="generate",
        concurrency_limit=1,
        api_visibility="private",
    )
    tab.stop.click(guarded(stop), None, None, **quick)
    _listen_choices(tab, studio, quick)
    # then() does not follow a failed event (6.31), failure() does.
    return [
        after(lambda: busy(False), None, buttons, **quick) for after in (running.success, running.failure)
    ]


def busy(working: bool) -> list[dict[str, Any]]:
    return [gr.update(interactive=not working), gr.update(visible=working)]


def _listen_choices(tab: GenerateTab, studio: Studio, quick: dict[str, Any]) -> None:
    def choose(chosen: list[str], before: list[str], base: str, *weights: Any) -> list[Any]:
        first = existing_lora(studio, safe_slug(chosen[0])) if chosen else None
        return [*slots(studio, chosen or [], before or [], weights), cards.ideas(ideas_for(base, first))]

    def change_base(base: str, chosen: list[str]) -> list[Any]:
        first = existing_lora(studio, safe_slug(chosen[0])) if chosen else None
        texts = [gr.update(placeholder=text) for text in defaults_of(base).values()]
        return [*texts, cards.ideas(ideas_for(base, first))]

    def take(event: gr.EventData) -> str:
        return str(getattr(event, "prompt", ""))[:2000]

    def seed_of(event: gr.EventData) -> str:
        return again(str(getattr(event, "seed", "")))

    def again(seed: str) -> str:
        return seed if seed.isdecimal() else ""

    chosen = [tab.loras, tab.order, tab.base, *tab.weights]
    tab.loras.change(guarded(choose), chosen, [*tab.weights, tab.order, tab.triggers, tab.ideas], **quick)
    sizes = [tab.steps, tab.guidance, tab.width, tab.height]
    tab.base.change(guarded(change_base), [tab.base, tab.loras], [*sizes, tab.ideas], **quick)
    tab.ideas.click(guarded(take), None, tab.prompt, **quick)
    tab.results.click(guarded(seed_of), None, tab.seed, **quick)
    tab.random.click(lambda: "", None, tab.seed, **quick)
    tab.reuse.click(guarded(again), tab.last_seed, tab.seed, **quick)
