// A shelf: a tile is chosen by a click, arrows go from tile to tile, and a turned page begins at its first tile.
// For Tab the tiles are one stop, so that pages and details are not sixty stops away.
const KEYS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
const tiles = () => [...element.querySelectorAll('.tile-button')];
const stopAt = (tile) => { for (const one of tiles()) one.tabIndex = one === tile ? 0 : -1; };
let turned = false;
const arrange = () => {
  const all = tiles();
  stopAt(all.find((one) => one.getAttribute('aria-pressed') === 'true') || all[0]);
  if (turned && all.length) {
    turned = false;
    all[0].focus({ preventScroll: true });
    element.scrollIntoView({ block: 'start' });
  }
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (!button || !element.contains(button)) return;
  if (button.dataset.action === 'choose') {
    for (const one of tiles()) one.setAttribute('aria-pressed', String(one === button));
    stopAt(button);
  }
  turned = button.dataset.action === 'page';
  trigger('click', { ...button.dataset });
});
element.addEventListener('keydown', (event) => {
  const all = tiles(), at = all.indexOf(event.target), by = KEYS[event.key];
  if (at < 0 || by === undefined) return;
  event.preventDefault();
  const next = all[Math.min(all.length - 1, Math.max(0, at + by))];
  stopAt(next);
  next.focus();
});
watch('value', arrange);
arrange();
