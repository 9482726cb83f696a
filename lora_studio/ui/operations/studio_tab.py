"""The Studio tab: the check-up of the installation, what it keeps on the disk, its logs. For admins alone:
for everybody else it is not there, and its events refuse."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_studio.access.roles import Role
from lora_studio.access.visitor import visitor
from lora_studio.files import free_bytes
from lora_studio.formatting import counted, moment, size
from lora_studio.operations.check_up import CheckUpState
from lora_studio.operations.reach_checks import headline
from lora_studio.operations.storage_use import KINDS
from lora_studio.store.people.visitors import Visitors
from lora_studio.studio import Studio
from lora_studio.ui.client_input.upload_owners import claim_files
from lora_studio.ui.client_input.validate import QUICK, as_words, guarded, quietly, safe_id
from lora_studio.ui.gallery.picked_pictures import ZIP_JS
from lora_studio.ui.gallery.trash_tab import TRASH_JS
from lora_studio.ui.widgets.html_templates import ACTIONS_JS, fill, panel

FRESH_SECONDS = 60.0
"""Age of a check-up from which opening the tab makes a new one."""
REVEAL_JS = "() => { studio.late('studio'); }"
"""Script that opens the tab where the address asked for it before it was there."""


@dataclass(frozen=True, kw_only=True)
class StudioTab:
    """The components of the tab."""

    tab: gr.Tab
    report: gr.HTML
    storage: gr.HTML
    logs: gr.HTML
    packed: gr.HTML

    @property
    def live(self) -> list[Any]:
        """Components that follow the check-up."""
        return [self.report, self.storage]


def render(visitors: Visitors) -> StudioTab:
    """Create the tab. Call inside Tabs. With roles, nobody sees it but who turns out to be an admin."""
    tab = gr.Tab("Studio", id="studio", elem_id="tab-studio", visible=visitors.is_open)
    with tab, gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            report = panel(elem_id="studio-report", actions=ACTIONS_JS)
        with gr.Column(scale=6, min_width=300):
            storage = panel(elem_id="studio-storage", actions=TRASH_JS)
            logs = panel(fill("studio_logs"), elem_id="studio-logs", actions=ACTIONS_JS)
            packed = panel(elem_id="studio-packed", actions=ZIP_JS)
    return StudioTab(tab=tab, report=report, storage=storage, logs=logs, packed=packed)


def listen(page: gr.Blocks, part: StudioTab, studio: Studio, visitors: Visitors) -> None:
    """Wire the tab."""
    check_up = studio.check_up

    def open_studio_tab() -> list[Any]:
        if not check_up.state.running and time.time() - check_up.state.at > FRESH_SECONDS:
            check_up.begin()
        return views(studio)

    def check_again() -> list[Any]:
        check_up.begin()
        return views(studio)

    def clean_storage(event: gr.EventData) -> list[Any]:
        files, freed = check_up.clean_up(safe_id(getattr(event, "id", None), "kind of files"))
        gr.Info(as_words(f"{counted(files, 'file is', 'files are')} gone: {size(freed)}."), title="Storage")
        return views(studio)

    def pack_logs() -> str:
        file = check_up.pack_logs()
        claim_files([file], visitor(), studio.settings.uploads)
        return fill("zip", file=file, words=f"{file.name}: {size(file.stat().st_size)}")

    part.tab.select(guarded(open_studio_tab), None, part.live, **QUICK)
    part.report.click(guarded(check_again), None, part.live, **QUICK)
    part.storage.delete(guarded(clean_storage), None, part.live, **QUICK)
    part.logs.click(guarded(pack_logs), None, part.packed, **QUICK)
    if not visitors.is_open:

        def look_at_studio() -> Any:
            return gr.update(visible=visitor().may(Role.ADMIN))

        seen = page.load(quietly(look_at_studio, gr.skip), None, part.tab, queue=False, **QUICK)
        seen.then(None, None, None, js=REVEAL_JS, queue=False, **QUICK)


def views(studio: Studio) -> list[Any]:
    """HTML for `StudioTab.live`; nothing for others than admins."""
    if not visitor().may(Role.ADMIN):
        return ["", ""]
    state = studio.check_up.state
    return [report_view(state), storage_view(state, free_bytes(studio.settings.home))]


def report_view(state: CheckUpState) -> str:
    """HTML of the findings: problems first, versions of packages in a fold."""
    if not (state.running or state.at):
        return ""
    packages = [finding for finding in state.findings if finding.is_package and finding.ok]
    others = [finding for finding in state.findings if finding not in packages]
    others.sort(key=lambda finding: ("problem", "ok", "off").index(finding.state))
    return fill(
        "check_up",
        findings=others,
        packages=packages,
        versions=f"{counted(len(packages), 'package')}, of versions that fit",
        headline="Looking …" if state.running else headline(state.findings),
        problem=any(not finding.ok for finding in state.findings),
        running=state.running,
        at=moment(state.at),
    )


def storage_view(state: CheckUpState, free: int | None) -> str:
    """HTML of what is kept, by kind, with the clean-up that each can have."""
    if not (state.running or state.at):
        return ""
    rows = [
        {
            "use": use,
            "size": size(use.bytes),
            "files": f"{use.files:,}",
            "act": f"Clean up {size(use.freed_bytes)}" if use.freed_bytes else "",
            "sure": f"Remove {counted(use.freed_files, 'file')} for good?",
        }
        for use in state.storage
    ]
    total = f"{size(sum(use.bytes for use in state.storage))} in all"
    room = "" if free is None else f"{size(free)} free on the disk"
    counting = len(rows) < len(KINDS) and state.running
    facts = " · ".join(filter(None, ("counting …" if counting else "", total, room)))
    return fill("storage", rows=rows, facts=facts)
