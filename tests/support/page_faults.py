"""What is wrong with a page for those who see, point or hear otherwise: axe-core's findings, targets that are
too small, what sticks out sideways, headings out of order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from playwright.sync_api import Page

Scheme = Literal["light", "dark"]

GRAVE = ("serious", "critical")
ORDER = ("heading-order", "landmark-one-main", "landmark-unique", "duplicate-id-aria", "empty-heading")
"""Rules of axe-core that it calls moderate or minor, and that are kept here all the same."""
DESK, PHONE, NARROW = 1440, 390, 320
HEIGHTS = {DESK: 900, PHONE: 844}
VIEWS: Sequence[tuple[int, Scheme]] = ((DESK, "light"), (DESK, "dark"), (PHONE, "light"), (PHONE, "dark"))
SMALLEST = {DESK: 24, PHONE: 44}
"""The least size of a target in pixels, by the width of the window: WCAG 2.2, 2.5.8 and 2.5.5."""

RUN_AXE = """async () => {
  const found = await axe.run(document, {resultTypes: ['violations']});
  return found.violations.map(({id, impact, nodes}) => ({
    id, impact,
    nodes: nodes.map((node) => `${node.target.join(' ')} ${node.any[0]?.message || ''}`.slice(0, 240)),
  }));
}"""

TARGETS = """(least) => {
  const kinds = 'button, a[href], input:not([type=hidden]), select, textarea, summary, [role=tab]';
  const seen = (one) => one.checkVisibility({visibilityProperty: true, contentVisibilityAuto: true});
  const size = (one) => { const {width, height} = one.getBoundingClientRect(); return [width, height]; };
  const inline = (one) => one.tagName === 'A' && getComputedStyle(one).display === 'inline';
  const inText = (one) => inline(one) && one.closest('p, li, dd');
  const found = [];
  for (const one of document.querySelectorAll(kinds)) {
    if (!seen(one) || inText(one)) continue;
    const label = ['checkbox', 'radio'].includes(one.type) ? one.closest('label') : null;
    const [width, height] = size(label || one);
    if (!width || !height || one.closest('#skip, [inert], .visually-hidden')) continue;
    if (width >= least - 0.5 && height >= least - 0.5) continue;
    const place = one.closest('[id]')?.id || '';
    const name = (one.getAttribute('aria-label') || one.innerText || one.type || '').trim().slice(0, 30);
    found.push(`#${place} ${one.tagName.toLowerCase()} “${name}” ${Math.round(width)}x${Math.round(height)}`);
  }
  return found;
}"""

WIDER = """() => {
  const width = document.documentElement.clientWidth, over = document.documentElement.scrollWidth - width;
  if (over <= 0) return [];
  const sticksOut = (one) => one.getBoundingClientRect().right > width + 1;
  const out = [...document.querySelectorAll('body *')].filter(sticksOut).slice(0, 4);
  return [`${over} px: ${out.map((one) => `${one.tagName}#${one.closest('[id]')?.id}`).join(', ')}`];
}"""

MOVING = """() => document.getAnimations()
  .filter((one) => one.playState === 'running' && one.effect.getComputedTiming().activeDuration > 50)
  .map((one) => `${one.animationName || one.transitionProperty} of #${one.effect.target?.id}`)"""
"""What moves although the person wants none of that."""


@dataclass
class PageFaults:
    """Findings by what was looked for. Each is a line that begins with the state of the page."""

    axe: list[str] = field(default_factory=list)
    small: list[str] = field(default_factory=list)
    wide: list[str] = field(default_factory=list)
    moving: list[str] = field(default_factory=list)

    states: list[str] = field(default_factory=list)

    def examine(self, page: Page, state: str, views: Sequence[tuple[int, Scheme]] = VIEWS) -> None:
        """Look at a page in a state, at widths and in colour schemes; in the end it is as for a desk."""
        self.states.append(state)
        for width, scheme in views:
            page.set_viewport_size({"width": width, "height": HEIGHTS[width]})
            page.emulate_media(color_scheme=scheme)
            self._look(page, f"{state} {width} {scheme}", SMALLEST[width])
        page.set_viewport_size({"width": NARROW, "height": HEIGHTS[PHONE]})
        self.wide += [f"{state} {NARROW}: {fault}" for fault in page.evaluate(WIDER)]
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": DESK, "height": HEIGHTS[DESK]})

    def _look(self, page: Page, where: str, least: int) -> None:
        self.axe += [f"{where}: {fault}" for fault in axe_faults(page)]
        self.small += [f"{where}: {fault}" for fault in page.evaluate(TARGETS, least)]
        self.wide += [f"{where}: {fault}" for fault in page.evaluate(WIDER)]
        self.moving += [f"{where}: {fault}" for fault in page.evaluate(MOVING)]


@cache
def axe_script() -> str:
    """axe-core, as the package axe-playwright-python carries it."""
    return files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


def axe_faults(page: Page) -> list[str]:
    """What axe-core calls serious or critical, and a few more rules: the rule and where."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe_script())
    found: list[dict[str, Any]] = page.evaluate(RUN_AXE)
    kept = [one for one in found if one["impact"] in GRAVE or one["id"] in ORDER]
    return [f"{one['id']} at {node}" for one in kept for node in one["nodes"]]
