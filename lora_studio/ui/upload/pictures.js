// Captions that were changed, buttons by their action, and the focus, which stays on the same button when the pictures
// are painted anew, and goes on to the next picture after one was removed.
let place = -1, held = '', painted = '';

// Pictures that are selected, by name: they stay so when the pictures are painted anew. Another set may have the
// same names.
const picked = new Set();
let last = '', pickedIn = '';
const showPicks = () => {
  const set = element.querySelector('[data-set]')?.dataset.set || '';
  if (set !== pickedIn) { picked.clear(); last = ''; }
  pickedIn = set;
  const all = [...element.querySelectorAll('[data-action=pick]')], there = new Set(all.map((one) => one.dataset.file));
  for (const name of picked) if (!there.has(name)) picked.delete(name);
  for (const one of all) one.setAttribute('aria-checked', String(picked.has(one.dataset.file)));
  const bar = element.querySelector('.picked-bar'), words = picked.size ? `${picked.size} selected` : '';
  if (!bar) return;
  bar.hidden = !picked.size;
  if (bar.querySelector('output').textContent !== words) bar.querySelector('output').textContent = words;
};
const pick = (button, isRange) => {
  const all = [...element.querySelectorAll('[data-action=pick]')], isOn = !picked.has(button.dataset.file);
  const at = all.indexOf(button), from = all.findIndex((one) => one.dataset.file === last);
  const some = isRange && from >= 0 ? all.slice(Math.min(from, at), Math.max(from, at) + 1) : [button];
  for (const one of some) if (isOn) picked.add(one.dataset.file); else picked.delete(one.dataset.file);
  last = button.dataset.file;
  showPicks();
};

// What can be done with a picture is one stop of the keyboard; the arrows lead on. More of it in picture_keys.js.
element.addEventListener('keydown', (event) => {
  const bar = event.target.closest('[role=toolbar]'), step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (!bar || !step || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const all = [...bar.querySelectorAll('button')], next = all.at((all.indexOf(event.target) + step) % all.length);
  for (const one of all) one.tabIndex = one === next ? 0 : -1;
  next.focus();
});
element.addEventListener('change', (event) => {
  const caption = event.target.closest('textarea[data-file]');
  if (caption) trigger('submit', {file: caption.dataset.file, text: caption.value});
  if (event.target.dataset.side) take(sides().map((input) => Number(input.value)));
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (!button) return;
  const {action} = button.dataset;
  if (action === 'add') { document.querySelector('#upload-files input[type=file]')?.click(); return; }
  if (action === 'crop') { open(button); return; }
  if (action === 'fit') { fit(); return; }
  if (action === 'widen') { take([0, 0, ...size]); return; }
  if (action === 'leave') { crop().close(); return; }
  if (action === 'pick') { pick(button, event.shiftKey); return; }
  if (action === 'unpick') { picked.clear(); showPicks(); return; }
  const removes = [...element.querySelectorAll('.remove')];
  place = action !== 'delete' ? -1 : button.dataset.picked ? removes.findIndex((one) => picked.has(one.dataset.file)) : removes.indexOf(button);
  held = action === 'edit' ? button.dataset.key || `crop ${button.dataset.file}` : '';
  if (action === 'expand') dropAnchor(button);
  const {after, limit, order} = element.querySelector('[data-after]')?.dataset || {};
  const facts = {after, limit, order, ...button.dataset};
  if (facts.picked) facts.files = [...picked];
  if (facts.edit === 'crop') {
    [facts.left, facts.top, facts.right, facts.bottom] = box;
    crop().close();
  }
  trigger(action, facts);
});
new MutationObserver(() => {
  if (document.activeElement === document.body) {
    const all = [...element.querySelectorAll('.remove')], keyed = [...element.querySelectorAll('[data-key]')];
    const same = keyed.find((one) => one.dataset.key === held);
    (place >= 0 ? all[Math.min(place, all.length - 1)] : same)?.focus();
  }
  place = -1;
  held = '';
  showPicks();
  // The page is patched, not replaced, and a field keeps what was typed: an undone caption would stay.
  const now = element.querySelector('[data-painted]')?.dataset.painted;
  for (const caption of now === painted ? [] : element.querySelectorAll('textarea[data-file]')) {
    if (caption !== document.activeElement) caption.value = caption.defaultValue;
  }
  painted = now;
  showStops();
  weighAnchor();
}).observe(element, {childList: true, subtree: true, attributes: true, attributeFilter: ['data-painted']});
