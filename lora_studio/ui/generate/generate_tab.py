"""The Generate tab: a prompt, any LoRAs with their weights, pictures beside the base's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from lora_studio.images.input_store import take_in
from lora_studio.request import LONGEST_PROMPT, GenerateRequest
from lora_studio.studio import Studio
from lora_studio.ui.client_input import deleted_elsewhere, field_refusals
from lora_studio.ui.client_input.field_refusals import FieldRefusals
from lora_studio.ui.client_input.validate import QUICK, guarded, quietly, safe_id, safe_slug
from lora_studio.ui.gallery.gallery_tab import existing_lora
from lora_studio.ui.generate import active_settings as in_force
from lora_studio.ui.generate import generate_fields, grid_fields, style_tiles
from lora_studio.ui.generate import img2img as redraw
from lora_studio.ui.generate import png_info as recall
from lora_studio.ui.generate.generate_requests import (
    FINER,
    GRID,
    LABELS,
    LARGER,
    OF_A_BASE,
    SLOTS,
    TEXT_WEIGHTS,
    WEIGHTS,
    Filling,
    build_request,
    defaults_of,
    request_of,
    sampler_box,
    shown_ideas,
    slots,
)
from lora_studio.ui.generate.generation_progress import HIDDEN, shown_ticket, single_result
from lora_studio.ui.generate.img2img import RedrawParts
from lora_studio.ui.generate.png_info import RecallParts
from lora_studio.ui.generate.request_places import place_of
from lora_studio.ui.generate.token_counter import token_count
from lora_studio.ui.upload.training_summary import DEFAULT_BASE
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, fill, hidden, panel

NO_PROMPT = fill("quiet", text="Empty: the base draws what it likes. Write what you want to see.")
REVEAL_JS = "() => { studio.reveal('generate-outcome'); }"
"""Script that brings the pictures, or how far they are, into sight."""
FOLLOW_JS = "() => { studio.reveal(); }"
"""Script that brings into sight what the button below a picture that was pressed last leads to."""
ADDRESS_JS = f"""(slugs, ...values) => {{
  studio.stack(slugs, values.slice(0, {SLOTS}), values.slice({SLOTS}));
}}"""
"""Script that tells the page's address which LoRAs are drawn with, and how strongly."""
VARIATIONS, VARIATION_STRENGTH = 4, 0.15
GONE_JS = """
element.addEventListener('error', (event) => event.target.remove(), true);
"""
"""Script that drops a broken image: a live preview's file goes with its picture's end."""
IDEAS_JS = f"""{ACTIONS_JS}
element.addEventListener('change', (event) => {{
  const list = event.target.closest('select[data-prompts]');
  if (list && list.value) trigger('click', {{action: 'prompt', prompt: list.value}});
}});
"""
SLIDER_JS = """
element.addEventListener('input', (event) => {
  const slider = event.target.closest('.slider');
  if (!slider) return;
  slider.style.setProperty('--at', `${event.target.value}%`);
  const base = event.target.value;
  event.target.setAttribute('aria-valuetext', `${base} % base, ${100 - base} % LoRA`);
});
"""


@dataclass(frozen=True, kw_only=True)
class GenerateTab:
    """The components of the tab. `fields` are the inputs of a generation, by their names in a request."""

    fields: Mapping[str, Any]
    order: gr.JSON
    ideas: gr.HTML
    tokens: gr.HTML
    used: gr.HTML
    triggers: gr.HTML
    random: gr.Button
    reuse: gr.Button
    go: gr.Button
    stop: gr.Button
    ticket: gr.Textbox
    progress: gr.HTML
    results: gr.HTML
    spoken: gr.HTML
    styles: gr.HTML
    in_force: gr.HTML
    refused: gr.HTML
    """The list of the fields that are at fault."""
    gone: gr.HTML
    """Notes about LoRAs that were chosen and are deleted."""
    recent: gr.HTML
    redraw: RedrawParts
    recall: RecallParts

    @property
    def loras(self) -> gr.Dropdown:
        loras: gr.Dropdown = self.fields["loras"]
        return loras

    @property
    def weights(self) -> list[Any]:
        """A slider for each slot, then a box for the weight in the text encoder."""
        return [self.fields[name] for name in (*WEIGHTS, *TEXT_WEIGHTS)]

    @property
    def live(self) -> list[Any]:
        """Components that follow the generation, in the order of `generation_progress.updates`."""
        return [self.progress, self.results, self.stop, self.spoken, self.recent]

    @property
    def filled(self) -> list[Any]:
        """Components that settings from elsewhere fill in, in the order of `filling`."""
        return [*self.fields.values(), self.order, self.redraw.canvas, self.recall.report_panel]

    def follow(self, event: Any, studio: Studio) -> Any:
        """Refresh the active settings after an event that fills in fields."""
        return in_force.follow(event, self.in_force, self.fields, studio)

    def filling(self, values: Filling, report: Any = "") -> list[Any]:
        """Values for `filled`: `values` change fields by name, the rest stays. `report` is HTML on them."""
        fields = [values.get(name, gr.skip()) for name in self.fields]
        return [*fields, values.get("order", gr.skip()), values.get("canvas", gr.skip()), report]


def render(studio: Studio) -> GenerateTab:
    """Create the components. Call inside a Tab."""
    parts: dict[str, Any] = {"order": gr.JSON([], visible=False), "ticket": hidden("generate-ticket")}
    fields = generate_fields.render_mode()
    with gr.Column(elem_id="generate-composer"):
        with gr.Row(equal_height=False, elem_id="generate-asked"):
            with gr.Column(scale=3, min_width=300, elem_id="generate-prompt-column"):
                fields["prompt"] = gr.Textbox(
                    label=LABELS["prompt"],
                    lines=2,
                    max_lines=6,
                    elem_id="generate-prompt",
                    placeholder="What the picture shows",
                )
                parts["tokens"] = panel(NO_PROMPT, elem_id="generate-tokens")
            with gr.Column(scale=2, min_width=280):
                fields |= generate_fields.render_loras(studio)
        with gr.Row(elem_id="generate-go-row"):
            parts["in_force"] = in_force.render()
            parts["stop"] = gr.Button("Stop", variant="stop", visible=HIDDEN, elem_id="generate-stop")
            parts["go"] = gr.Button("Generate", variant="primary", elem_id="generate-go")
    parts["refused"] = field_refusals.render("generate-refused")
    parts["gone"] = panel(elem_id="generate-gone", actions=ACTIONS_JS)
    report_panel = recall.render_report()
    parts["ideas"] = panel(shown_ideas(DEFAULT_BASE), elem_id="generate-ideas", actions=IDEAS_JS)
    parts["triggers"] = panel(elem_id="generate-triggers")
    with gr.Row(elem_id="generate-numbers", equal_height=False):
        fields |= generate_fields.render_numbers()
    with gr.Row(elem_id="generate-seeds"):
        parts["random"] = gr.Button("Random seed", size="sm", elem_id="generate-random", min_width=110)
        parts["reuse"] = gr.Button("Last seed again", size="sm", elem_id="generate-reuse", min_width=110)
    redraw_fields, parts["redraw"] = redraw.render()
    fields |= redraw_fields | grid_fields.render()
    drawer_fields, drawer = _render_drawer(studio, report_panel)
    parts |= drawer | _render_outcome()
    return GenerateTab(fields={**fields, **drawer_fields}, **parts)


def _render_drawer(studio: Studio, report_panel: gr.HTML) -> tuple[generate_fields.Fields, dict[str, Any]]:
    """The drawer with all that is seldom changed, by sections; `report_panel` is the place for a report."""
    fields: generate_fields.Fields = {}
    parts: dict[str, Any] = {}
    with gr.Accordion("Settings", open=False, elem_id="generate-settings"):
        with generate_fields.section("Model, steps and size", "more"):
            fields |= generate_fields.render_more(studio)
        with generate_fields.section(LARGER, "larger"):
            fields |= generate_fields.render_larger()
        with generate_fields.section(FINER, "finer"):
            fields |= generate_fields.render_finer()
        with generate_fields.section("Styles", "styles-section"):
            parts["styles"] = style_tiles.render()
        with generate_fields.section("Settings from a picture", "recall"):
            parts["recall"] = recall.render(report_panel)
        with generate_fields.section("Prompts you used", "used-section"):
            parts["used"] = panel(elem_id="generate-used", actions=ACTIONS_JS)
    return fields, parts


def _render_outcome() -> dict[str, Any]:
    parts: dict[str, Any] = {}
    with gr.Column(elem_id="generate-outcome"):
        parts["spoken"] = panel(elem_id="generate-spoken", actions="element.setAttribute('role', 'status')")
        parts["progress"] = panel(elem_id="generate-progress", actions=ACTIONS_JS + GONE_JS)
        parts["results"] = panel(
            fill("no_results"), elem_id="generate-results", actions=ACTIONS_JS + SLIDER_JS
        )
        parts["recent"] = panel(elem_id="generate-recent", actions=ACTIONS_JS)
    return parts


def listen(tab: GenerateTab, studio: Studio) -> list[Any]:
    """Wire the tab. Returns the events after which the page has to be refreshed."""

    def ask(request: gr.Request, *values: Any) -> str:
        asked, session = dict(zip(tab.fields, values, strict=True)), request.session_hash or ""
        if asked["mode"] == GRID:
            return grid_fields.submit_asked(asked, studio, session=session).id
        wanted = build_request(asked, studio)
        return studio.submit(wanted, compare=bool(asked["compare"]), session=session).id

    def stop(ticket_id: str) -> str:
        ticket = shown_ticket(studio.generation_queue, ticket_id)
        return studio.generation_queue.cancel(ticket.id).id if ticket else ""

    def queued(event: gr.EventData) -> str:
        """Handle a button in the list of waiting generations."""
        other = safe_id(getattr(event, "id", None), "generation")
        chosen = studio.generation_queue.cancel(other) if getattr(event, "action", "") == "stop" else None
        return gr.skip() if chosen else studio.generation_queue.ticket(other).id

    _listen_choices(tab, studio)
    in_force.listen(tab.in_force, tab.fields, tab.redraw.canvas, studio)
    filled = [
        *redraw.listen(tab.redraw, dict(tab.fields), studio),
        recall.listen(tab.recall, tab.filled, tab.filling, studio),
        style_tiles.listen(tab.styles, dict(tab.fields), studio),
        _listen_in_force(tab, studio),
    ]
    for event in filled:
        tab.follow(event, studio)
    grid_fields.listen(tab.fields, studio)
    asks = [tab.go.click, tab.fields["prompt"].submit]
    refusals = FieldRefusals(place_of)
    asked = gr.on(asks, refusals.guarded(ask), [*tab.fields.values()], tab.ticket, **QUICK)
    refusals.listen(asked, tab.refused)
    asked.success(None, None, None, js=REVEAL_JS, **QUICK)
    _listen_recent(tab, studio)
    return [
        asked,
        tab.stop.click(guarded(stop), tab.ticket, tab.ticket, **QUICK),
        tab.progress.click(guarded(queued), None, tab.ticket, **QUICK),
        tab.follow(_listen_results(tab, studio), studio),
        tab.gone.click(guarded(deleted_elsewhere.undo_event(studio)), None, tab.gone, **QUICK),
    ]


def _listen_in_force(tab: GenerateTab, studio: Studio) -> Any:
    """Wire the x of each active setting."""

    def take_away(event: gr.EventData, *values: Any) -> list[Any]:
        name = str(getattr(event, "id", ""))
        filling = in_force.without(name, in_force.by_name(values), studio)
        worn = style_tiles.tiles("") if name == in_force.STYLE else gr.skip()
        return [*tab.filling(filling, gr.skip()), worn]

    take: Any = {**QUICK, "trigger_mode": "multiple"}  # a second x is clicked before the first is answered
    inputs = [tab.fields[name] for name in in_force.READ]
    return tab.in_force.click(guarded(take_away), inputs, [*tab.filled, tab.styles], **take)


def _listen_recent(tab: GenerateTab, studio: Studio) -> None:
    """Show one of the last pictures again when it is pressed."""

    def show(event: gr.EventData) -> str:
        return single_result(studio.gallery.image(safe_id(getattr(event, "id", None), "picture")))

    shown = tab.recent.click(guarded(show), None, tab.results, **QUICK)
    shown.success(None, None, None, js=REVEAL_JS, **QUICK)


def _listen_results(tab: GenerateTab, studio: Studio) -> Any:
    """Wire the buttons under a picture: its seed, another one like it, a little different, redrawn."""

    def act(request: gr.Request, event: gr.EventData) -> Any:
        action, image_id = getattr(event, "action", ""), str(getattr(event, "id", ""))
        if action == "undo":
            deleted_elsewhere.undo(studio, image_id)
            return gr.skip()
        wanted, session = request_of(studio, image_id), request.session_hash or ""
        ticket: Any = gr.skip()
        filling: Filling = {}
        if action == "seed":
            filling = {"seed": str(wanted.seed), **varied_as(wanted)}
        elif action == "again":
            ticket = studio.submit(wanted.model_copy(update={"seed": None}), session=session).id
        elif action == "vary":
            varied = {"variation_strength": VARIATION_STRENGTH, "variation_seed": None, "count": VARIATIONS}
            ticket = studio.submit(wanted.model_copy(update=varied), session=session).id
        elif action == "redraw":
            filling = redrawing(studio, image_id, wanted.base)
        return [ticket, *tab.filling(filling)]

    acted = tab.results.click(guarded(act), None, [tab.ticket, *tab.filled], **QUICK)
    acted.success(None, None, None, js=FOLLOW_JS, **QUICK)
    return acted


def varied_as(request: GenerateRequest) -> Filling:
    """Fields of a variation; without one they are left."""
    if not request.variation_strength:
        return {}
    seed = "" if request.variation_seed is None else str(request.variation_seed)
    return {"variation_seed": seed, "variation_strength": request.variation_strength}


def redrawing(studio: Studio, image_id: str, base: str) -> Filling:
    """Fields that redraw a picture of the gallery. Raises StoreError."""
    path = Path(studio.gallery.image(safe_id(image_id, "picture")).path)
    return redraw.placed(take_in(path, studio.settings.inputs), base, studio.settings)


def _listen_choices(tab: GenerateTab, studio: Studio) -> None:
    fields = tab.fields
    prompt, base, seed = fields["prompt"], fields["base"], fields["seed"]

    def choose(chosen: list[str], before: list[str], base: str, *weights: Any) -> list[Any]:
        if not chosen and not before:  # a page that opens, whose draft may come before this answer
            return [gr.skip()] * len(stacked)
        first = existing_lora(studio, safe_slug(chosen[0])) if chosen else None
        return [*slots(studio, chosen or [], before or [], weights), shown_ideas(base, first)]

    def change_base(base: str, chosen: list[str], sampler: str) -> list[Any]:
        first = existing_lora(studio, safe_slug(chosen[0])) if chosen else None
        texts = [gr.update(placeholder=text) for text in defaults_of(base, studio.settings).values()]
        samplers = sampler_box(base, str(sampler or ""), studio.settings)
        return [*texts, shown_ideas(base, first), samplers]

    def take(event: gr.EventData) -> str:
        return str(getattr(event, "prompt", ""))[:LONGEST_PROMPT]

    def last_seed(ticket_id: str) -> str:
        ticket = shown_ticket(studio.generation_queue, ticket_id)
        return str(ticket.made.images[0].seed) if ticket and ticket.made.images else ""

    def count(text: str, base: str) -> str:
        return token_count(text, base, studio.settings) if str(text or "").strip() else NO_PROMPT

    chosen = [tab.loras, tab.order, base, *tab.weights]
    stacked = [*tab.weights, tab.order, tab.triggers, tab.ideas]
    weighed = tab.loras.change(guarded(choose), chosen, stacked, **QUICK).then
    for event in (weighed, *(weight.change for weight in tab.weights)):
        event(None, [tab.order, *tab.weights], js=ADDRESS_JS, **QUICK)
    sizes = [fields[name] for name in OF_A_BASE]
    sampler = fields["sampler"]
    asked, changed = [base, tab.loras, sampler], [*sizes, tab.ideas, sampler]
    base.change(guarded(change_base), asked, changed, **QUICK)
    for prompts in (tab.ideas, tab.used):
        prompts.click(guarded(take), None, prompt, **QUICK)
    tab.random.click(lambda: "", None, seed, **QUICK)
    tab.reuse.click(guarded(last_seed), tab.ticket, seed, **QUICK)
    counting: dict[str, Any] = {**QUICK, "queue": False, "trigger_mode": "always_last"}
    prompt.change(quietly(count, gr.skip), [prompt, base], tab.tokens, **counting)
