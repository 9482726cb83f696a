// A shelf: a tile is chosen by a click, arrows go from tile to tile, and a turned page begins at its first tile.
// For Tab the tiles are one stop, so that pages and details are not sixty stops away. Where several can be picked,
// a click picks while `picking`, on any page.
const KEYS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
const tiles = () => [...element.querySelectorAll('.tile-button')];
const stopAt = (tile) => { for (const one of tiles()) one.tabIndex = one === tile ? 0 : -1; };
const picked = new Set();
let turned = false, picking = false, chosen = '';
const showPicks = () => {
  const bar = element.querySelector('.selection');
  if (!bar) return;
  for (const one of tiles()) one.setAttribute('aria-pressed', String(picking ? picked.has(one.dataset.id) : one.dataset.id === chosen));
  bar.querySelector('[data-pick=begin]').setAttribute('aria-pressed', String(picking));
  bar.querySelector('[data-pick=begin]').textContent = picking ? 'Done selecting' : 'Select';
  bar.querySelector('.picked').textContent = picking ? `${picked.size} selected` : '';
  for (const name of ['download', 'delete']) bar.querySelector(`[data-pick=${name}]`).hidden = !picking || !picked.size;
};
const arrange = () => {
  const all = tiles(), pressed = all.find((one) => one.getAttribute('aria-pressed') === 'true');
  chosen = pressed?.dataset.id || '';
  stopAt(pressed || all[0]);
  showPicks();
  if (turned && all.length) {
    turned = false;
    all[0].focus({ preventScroll: true });
    element.scrollIntoView({ block: 'start' });
  }
};
const pick = (name) => {
  const ids = [...picked];
  if (name === 'begin') picking = !picking;
  if (name !== 'download') picked.clear();
  showPicks();
  if (name !== 'begin') trigger(name, { ids });
};
element.addEventListener('click', (event) => {
  const bulk = event.target.closest('[data-pick]');
  if (bulk && element.contains(bulk)) { pick(bulk.dataset.pick); return; }
  const button = event.target.closest('[data-action]');
  if (!button || !element.contains(button)) return;
  if (button.dataset.action === 'choose') {
    stopAt(button);
    if (picking) {
      if (!picked.delete(button.dataset.id)) picked.add(button.dataset.id);
      showPicks();
      return;
    }
    for (const one of tiles()) one.setAttribute('aria-pressed', String(one === button));
    chosen = button.dataset.id || '';
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
