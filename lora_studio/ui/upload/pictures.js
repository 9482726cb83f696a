// Captions that were changed, buttons by their action, the frame of a crop, and the focus, which stays on the
// same button when the pictures are painted anew, and goes on to the next picture after one was removed.
let place = -1, held = '', painted = '', box = null, size = [0, 0];
const crop = () => element.querySelector('dialog.crop');
const sides = () => [...crop().querySelectorAll('input[data-side]')];
const within = (value, least, most) => Math.min(Math.max(Math.round(value) || 0, least), Math.max(least, most));

const lay = (part, left, top, width, height) => {
  const share = (value, whole) => `${100 * value / whole}%`;
  Object.assign(crop().querySelector(part).style, {
    left: share(left, size[0]), top: share(top, size[1]), width: share(width, size[0]), height: share(height, size[1]),
  });
};
const draw = () => {
  const [left, top, right, bottom] = box, width = right - left, height = bottom - top, shape = width / height;
  // The bucket of the nearest shape is covered, as in data/buckets.py; what reaches beyond it is cut off.
  const buckets = JSON.parse(crop().dataset.buckets);
  const [wide, high] = buckets.reduce((best, one) =>
    Math.abs(one[0] / one[1] - shape) < Math.abs(best[0] / best[1] - shape) ? one : best);
  const kept = shape > wide / high ? [height * wide / high, height] : [width, width * high / wide];
  lay('.crop-frame', left, top, width, height);
  lay('.crop-kept', left + (width - kept[0]) / 2, top + (height - kept[1]) / 2, ...kept);
  crop().querySelector('output').textContent = `${width} × ${height}`;
  sides().forEach((input, at) => { input.value = box[at]; input.max = size[at % 2]; });
};
const take = (given) => {
  const least = 32, [left, top, right, bottom] = given;
  const x = within(left, 0, size[0] - least), y = within(top, 0, size[1] - least);
  box = [x, y, within(right, x + least, size[0]), within(bottom, y + least, size[1])];
  draw();
};
const open = (button) => {
  size = [Number(button.dataset.width), Number(button.dataset.height)];
  crop().querySelector('img').src = button.closest('.tile').querySelector('img').src;
  crop().querySelector('.crop-view').style.aspectRatio = size.join(' / ');
  crop().querySelector('[data-edit=crop]').dataset.file = button.dataset.file;
  take([0, 0, ...size]);
  crop().showModal();
};
const spot = (event) => {
  const area = crop().querySelector('.crop-view').getBoundingClientRect();
  return [(event.clientX - area.left) * size[0] / area.width, (event.clientY - area.top) * size[1] / area.height];
};
let from = null;
element.addEventListener('pointerdown', (event) => {
  const view = event.target.closest('.crop-view');
  if (!view) return;
  event.preventDefault();
  view.setPointerCapture(event.pointerId);
  from = spot(event);
});
element.addEventListener('pointermove', (event) => {
  if (!from) return;
  const to = spot(event);
  take([Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])]);
});
for (const end of ['pointerup', 'pointercancel']) element.addEventListener(end, () => { from = null; });

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

// What can be done with a picture is one stop of the keyboard; the arrows lead on.
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
  if (action === 'leave') { crop().close(); return; }
  if (action === 'pick') { pick(button, event.shiftKey); return; }
  if (action === 'unpick') { picked.clear(); showPicks(); return; }
  const removes = [...element.querySelectorAll('.remove')];
  place = action !== 'delete' ? -1 : button.dataset.picked ? removes.findIndex((one) => picked.has(one.dataset.file)) : removes.indexOf(button);
  held = action === 'edit' ? button.dataset.key || `crop ${button.dataset.file}` : '';
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
}).observe(element, {childList: true, subtree: true, attributes: true, attributeFilter: ['data-painted']});
