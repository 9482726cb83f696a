"""A person who has only a keyboard: goes from stop to stop, and sees at each of them where the focus is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Locator, Page

THINNEST = 2
"""Pixels of an outline that can be seen."""
LOOKS = 10
"""Looks at a focus that is not seen yet, a tenth of a second apart."""

FOCUS = """(thinnest) => {
  const one = document.activeElement;
  if (!one || one === document.body) return null;
  const rings = (style) => style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= thinnest
    && !/^rgba\\(.*, 0\\)$|^transparent$/.test(style.outlineColor);
  let owner = one;
  for (let up = 0; up < 4 && owner && !rings(getComputedStyle(owner)); up += 1) owner = owner.parentElement;
  const painted = Boolean(owner) && rings(getComputedStyle(owner));
  const place = (painted ? owner : one).getBoundingClientRect();
  const style = getComputedStyle(painted ? owner : one);
  const reach = painted ? Math.max(0, parseFloat(style.outlineOffset) + parseFloat(style.outlineWidth)) : 0;
  const ring = {
    left: place.left - reach, right: place.right + reach,
    top: place.top - reach, bottom: place.bottom + reach,
  };
  const clips = [];
  for (let up = (painted ? owner : one).parentElement; up && up !== document.body; up = up.parentElement) {
    const {overflowX, overflowY, position} = getComputedStyle(up);
    const box = up.getBoundingClientRect();
    const cut = (how, out) => how !== 'visible' && out > 0.75;
    const across = Math.max(box.left - ring.left, ring.right - box.right);
    const down = Math.max(box.top - ring.top, ring.bottom - box.bottom);
    if (cut(overflowX, across) || cut(overflowY, down)) clips.push(up.id || up.className);
    if (position === 'fixed') break;
  }
  const {left, top, width, height} = place, inset = 3;
  const points = [[0.5, 0.5], [0, 0], [1, 0], [0, 1], [1, 1]].map(([across, down]) => [
    left + inset + across * (width - 2 * inset), top + inset + down * (height - 2 * inset),
  ]);
  const shown = points.some(([x, y]) => {
    const hit = document.elementFromPoint(x, y);
    return hit && ((owner || one).contains(hit) || hit.contains(one));
  });
  const text = [one.getAttribute('aria-label'), one.innerText, one.labels?.[0]?.innerText, one.placeholder]
    .find((words) => words?.trim()) || '';
  return {
    id: one.closest('[id]')?.id || '',
    kind: `${one.tagName.toLowerCase()} ${one.getAttribute('role') || one.type || ''}`.trim(),
    name: text.trim().split('\\n')[0].slice(0, 50), painted, clips, shown,
  };
}"""
IS_FOCUSED = "(one) => one === document.activeElement || one.contains(document.activeElement)"


@dataclass
class Keyboard:
    """Keys on a page. `unseen` collects the stops at which the focus could not be seen, and why."""

    page: Page
    unseen: list[str] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)

    def press(self, *keys: str) -> dict[str, Any]:
        """Press keys one after the other; the element that has the focus then, looked at."""
        for key in keys:
            self.page.keyboard.press(key)
        return self.look()

    def look(self) -> dict[str, Any]:
        """The element that has the focus, {} for none. Where that can't be seen, it is noted."""
        found: dict[str, Any] = self.page.evaluate(FOCUS, THINNEST) or {}
        for _ in range(LOOKS):  # what a click brings may still move the page
            if not found or (found["painted"] and found["shown"] and not found["clips"]):
                break
            self.page.wait_for_timeout(100)
            found = self.page.evaluate(FOCUS, THINNEST) or {}
        if not found:
            return {}
        stop = f"#{found['id']} {found['kind']} “{found['name']}”"
        self.stops.append(stop)
        if not found["painted"]:
            self.unseen.append(f"{stop} has no outline")
        elif found["clips"]:
            self.unseen.append(f"{stop} has its outline cut off by {found['clips'][0]}")
        elif not found["shown"]:
            self.unseen.append(f"{stop} is covered")
        return found

    def go_to(self, target: Locator, *, most: int, key: str = "Tab") -> int:
        """Press `key` until the focus is on a target or in it; the number of presses, at most `most`."""
        for count in range(1, most + 1):
            self.press(key)
            if target.count() and target.first.evaluate(IS_FOCUSED):
                return count
        passed = "\n".join(self.stops[-most:])
        raise AssertionError(f"not reached in {most} stops; passed were\n{passed}")

    def type(self, text: str) -> None:
        """Write in the place of what stands in the focused field."""
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.type(text)
