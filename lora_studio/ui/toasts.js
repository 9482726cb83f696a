// Toasts cover no button: they go where nothing that can be pressed or typed into lies below them, and look again
// when the page is scrolled or changes.
'use strict';
(() => {
  const STEP = 16, MARGIN = 12, GAP = 6, SETTLES = 250;
  const BUTTONS = 'button, a[href], summary, [role=tab], [role=button], [role=option], label:has(input)', FIELDS = 'input, textarea, [role=slider]';
  const inSight = (box) => box.width && box.height && box.bottom > 0 && box.top < innerHeight;
  const boxes = (selector) => [...document.querySelectorAll(selector)]
    .filter((one) => !one.closest('.toast-wrap')).map((one) => one.getBoundingClientRect()).filter(inSight);
  const covered = (spot, others) => others.reduce((sum, box) => {
    const wide = Math.min(spot.left + spot.width, box.right) - Math.max(spot.left, box.left) + GAP;
    const high = Math.min(spot.top + spot.height, box.bottom) - Math.max(spot.top, box.top) + GAP;
    return sum + (wide > 0 && high > 0 ? wide * high : 0);
  }, 0);
  // The first free spot from the top, at the right, the left and in the middle; else the one that covers least.
  const freeSpot = (width, height) => {
    const buttons = boxes(BUTTONS), fields = boxes(FIELDS), edge = document.documentElement.clientWidth - width;
    let best = null;
    for (const left of [edge - MARGIN, MARGIN, edge / 2]) {
      for (let top = MARGIN; top + height + MARGIN <= innerHeight; top += STEP) {
        const spot = { left: Math.max(0, left), top, width, height };
        const costs = 100 * covered(spot, buttons) + covered(spot, fields);
        if (!costs) return spot;
        if (!best || costs < best.costs) best = { ...spot, costs };
      }
    }
    return best;
  };
  // Of files that a phone keeps beside its pictures, Gradio says each ending that it would have taken.
  const reword = () => {
    for (const text of document.querySelectorAll('.toast-wrap [data-testid=toast-text]')) {
      const all = text.textContent.trim(), end = all.lastIndexOf('. Only .');
      if (!all.startsWith('Invalid') || end < 0) continue;
      const names = all.slice(all.indexOf(': ') + 2, end);
      text.textContent = `Left out, since no picture can be read from them: ${names}.`;
    }
  };
  let due = 0;
  const place = () => {
    due = 0;
    const wrap = document.querySelector('.toast-wrap'), toasts = [...(wrap?.children || [])];
    if (!toasts.length) return;
    const sizes = toasts.map((one) => one.getBoundingClientRect());
    const spot = freeSpot(wrap.offsetWidth, sizes.reduce((sum, { height }) => sum + height + GAP, 0));
    const root = document.documentElement.style;
    root.setProperty('--toasts-top', `${spot ? spot.top : MARGIN}px`);
    root.setProperty('--toasts-left', `${spot ? spot.left : MARGIN}px`);
  };
  const soon = () => {
    if (!document.querySelector('.toast-wrap')?.childElementCount) return;
    reword();
    if (due) return;
    due = setTimeout(place, 0);
    setTimeout(place, SETTLES); // what was still growing or moving has done so
  };
  document.addEventListener('DOMContentLoaded', () => {
    new MutationObserver(soon).observe(document.body, { childList: true, subtree: true });
    for (const kind of ['scroll', 'resize']) window.addEventListener(kind, soon, { passive: true });
  });
})();
