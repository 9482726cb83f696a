// All pictures are one stop of the keyboard, and the caption of the one that was reached is the next: left and right
// lead along its buttons, up and down from picture to picture, Page Up and Page Down from caption to caption, too.
const STEPS = {ArrowUp: -1, ArrowDown: 1, Home: -Infinity, End: Infinity}, PAGES = {PageUp: -1, PageDown: 1};
const LETTERS = {r: '[data-edit=rotate]', f: '[data-edit=flip]', c: '[data-action=crop]', delete: '.remove'};
// The letter of a key, also with Caps Lock, and where the layout has Greek or Cyrillic ones, by its place.
const letterOf = (event) => (event.key.length === 1 && event.key > '\x7f' ? event.code.replace('Key', '') : event.key).toLowerCase();
let here = '';
const tiles = () => [...element.querySelectorAll('.pictures .tile')];
const nameOf = (tile) => tile.querySelector('textarea').dataset.file;
const letIn = (tile, stop) => {
  for (const one of tile.querySelectorAll('[role=toolbar] button, textarea')) {
    const index = stop && (one === stop || one.matches('textarea')) ? 0 : -1;
    if (one.tabIndex !== index) one.tabIndex = index;
  }
};
// Which picture Tab leads to, as it was before the pictures were painted anew.
const showStops = () => {
  const all = tiles(), reached = all.find((one) => nameOf(one) === here) || all[0];
  for (const one of all) letIn(one, one === reached ? barStop(one) : null);
};
const barStop = (tile) => {
  const bar = tile.querySelector('[role=toolbar]');
  return bar.contains(document.activeElement) ? document.activeElement : bar.querySelector('[tabindex="0"]') || bar.querySelector('.remove');
};
element.addEventListener('focusin', (event) => {
  const tile = event.target.closest('.pictures .tile');
  if (!tile) return;
  const before = nameOf(tile) === here ? null : tiles().find((one) => nameOf(one) === here) || tiles()[0];
  if (before) letIn(before, null);
  here = nameOf(tile);
  letIn(tile, barStop(tile));
});
const sameIn = (tile, control) => {
  const {edit, action} = control.dataset;
  if (control.matches('textarea')) return tile.querySelector('textarea');
  return tile.querySelector(`[role=toolbar] ${edit ? `[data-edit=${edit}]` : `[data-action=${action}]`}`) || tile.querySelector('.remove');
};
element.addEventListener('keydown', (event) => {
  const tile = event.target.closest('.pictures .tile'), isCaption = event.target.matches('textarea');
  if (!tile || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  const step = PAGES[event.key] || (isCaption ? 0 : STEPS[event.key]), button = isCaption ? '' : LETTERS[letterOf(event)];
  if (step || button) event.preventDefault();
  if (button && !event.repeat) tile.querySelector(button)?.click();  // a key that is held is one wish, not many
  if (!step) return;
  const all = tiles(), at = all.indexOf(tile) + step;
  const beyond = step === 1 ? '[data-key=more]' : '[data-key=earlier]', end = all[at] ? null : Math.abs(step) === 1 && element.querySelector(beyond);
  (end || sameIn(all[within(at, 0, all.length - 1)], event.target)).focus();
});

// More pictures than a page shows at once push others out at the other end: what one looks at stays where it is.
let anchor = null;
const dropAnchor = (button) => {
  const edge = {more: tiles().at(-1), earlier: tiles()[0]}[button.dataset.key];
  anchor = edge ? [nameOf(edge), edge.getBoundingClientRect().top] : null;
};
const weighAnchor = () => {
  const [name, top] = anchor || [], edge = anchor && tiles().find((one) => nameOf(one) === name);
  if (edge) window.scrollBy({top: edge.getBoundingClientRect().top - top, behavior: 'instant'});
  anchor = null;
};
