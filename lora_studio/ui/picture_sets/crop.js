// The frame of a crop, and in it what the training sees of it: a bucket of the nearest shape is covered, as in
// data/buckets.py, and what reaches beyond it is cut off.
const LEAST = 32;
let box = null, size = [0, 0], from = null, carried = null;
const crop = () => element.querySelector('dialog.crop');
const sides = () => [...crop().querySelectorAll('input[data-side]')];
const within = (value, least, most) => Math.min(Math.max(Math.round(value) || 0, least), Math.max(least, most));

const bucketOf = (width, height) => {
  const all = JSON.parse(document.querySelector('#upload-buckets [data-buckets]')?.dataset.buckets || '[]');
  const away = ([wide, high]) => Math.abs(wide / high - width / height);
  return all.find(([wide, high]) => wide === width && high === height)
    || all.reduce((best, one) => (best && away(best) <= away(one) ? best : one), null);
};
const keptOf = (width, height) => {
  const [wide, high] = bucketOf(width, height) || [width, height];
  return width / height > wide / high ? [height * wide / high, height] : [width, width * high / wide];
};

const lay = (part, left, top, width, height) => {
  const share = (value, whole) => `${100 * value / whole}%`;
  Object.assign(crop().querySelector(part).style, {
    left: share(left, size[0]), top: share(top, size[1]), width: share(width, size[0]), height: share(height, size[1]),
  });
};
const seen = (width, height, kept) => {
  const [wide, high] = bucketOf(width, height) || [0, 0];
  const percent = Math.round(100 - 100 * kept[0] * kept[1] / (width * height));
  if (!wide) return '';
  return percent ? `Trained at ${wide} × ${high}: ${percent} % of it is cut off.` : `Trained at ${wide} × ${high}: nothing is cut off.`;
};
const draw = (typed = null) => {
  const [left, top, right, bottom] = box, width = right - left, height = bottom - top, kept = keptOf(width, height);
  lay('.crop-frame', left, top, width, height);
  lay('.crop-kept', left + (width - kept[0]) / 2, top + (height - kept[1]) / 2, ...kept);
  crop().querySelector('output').textContent = `${width} × ${height}`;
  crop().querySelector('.crop-bucket').textContent = seen(width, height, kept);
  sides().forEach((input, at) => {
    input.max = size[at % 2];
    if (input !== typed) input.value = box[at];
  });
};
const take = (given) => {
  const [left, top, right, bottom] = given;
  const x = within(left, 0, size[0] - LEAST), y = within(top, 0, size[1] - LEAST);
  box = [x, y, within(right, x + LEAST, size[0]), within(bottom, y + LEAST, size[1])];
  draw();
};
const shift = (given, across, down) => {
  const x = within(across, -given[0], size[0] - given[2]), y = within(down, -given[1], size[1] - given[3]);
  take([given[0] + x, given[1] + y, given[2] + x, given[3] + y]);
};

// Where the edges are from left to right and from top to bottom, counted on the thumbnail: what they belong to is
// most likely the subject.
const edgesOf = (image) => {
  const canvas = document.createElement('canvas'), wide = image.naturalWidth, high = image.naturalHeight;
  const columns = new Float64Array(wide), rows = new Float64Array(high);
  if (!wide || !high) return [columns, rows];
  [canvas.width, canvas.height] = [wide, high];
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  const { data } = pen.getImageData(0, 0, wide, high);
  const grey = (x, y) => data[4 * (y * wide + x)] + data[4 * (y * wide + x) + 1] + data[4 * (y * wide + x) + 2];
  for (let y = 0; y + 1 < high; y += 1) {
    for (let x = 0; x + 1 < wide; x += 1) {
      const step = Math.abs(grey(x + 1, y) - grey(x, y)) + Math.abs(grey(x, y + 1) - grey(x, y));
      columns[x] += step;
      rows[y] += step;
    }
  }
  return [columns, rows];
};
// The start, in pixels of the picture, of the part of this length between two places that has most edges. Of parts
// that have about as many the one in the middle is taken.
const bestStart = (edges, length, first, last, whole) => {
  const scale = edges.length / whole, total = edges.reduce((sum, one) => sum + one, 0) || 1, middle = (first + last - length) / 2;
  const step = Math.max(1, Math.round(whole / 128)), steps = Math.ceil((last - length - first) / step);
  let best = [middle, -1];
  for (let at = 0; at <= steps; at += 1) {
    const start = Math.min(first + at * step, last - length);
    const inside = edges.slice(Math.round(start * scale), Math.round((start + length) * scale)).reduce((sum, one) => sum + one, 0);
    const worth = inside / total - Math.abs(start - middle) / (50 * whole);
    if (worth > best[1]) best = [start, worth];
  }
  return Math.round(best[0]);
};
const fit = () => {
  const [left, top, right, bottom] = box, [wide, high] = keptOf(right - left, bottom - top).map(Math.round);
  const [columns, rows] = edgesOf(crop().querySelector('img'));
  const x = bestStart(columns, wide, left, right, size[0]), y = bestStart(rows, high, top, bottom, size[1]);
  take([x, y, x + wide, y + high]);
};

const open = (button) => {
  size = [Number(button.dataset.width), Number(button.dataset.height)];
  crop().querySelector('img').src = button.closest('.tile').querySelector('img').src;
  crop().querySelector('.crop-view').style.aspectRatio = size.join(' / ');
  crop().querySelector('[data-edit=crop]').dataset.file = button.dataset.file;
  take([0, 0, ...size]);
  crop().showModal();
  trigger('select', {});
};
const told = document.getElementById('upload-buckets');
// They come while a number may be half typed, which stays.
if (told) new MutationObserver(() => { if (crop()?.open) draw(document.activeElement); }).observe(told, { childList: true, subtree: true, attributes: true });

const spot = (event) => {
  const area = crop().querySelector('.crop-view').getBoundingClientRect();
  return [(event.clientX - area.left) * size[0] / area.width, (event.clientY - area.top) * size[1] / area.height];
};
element.addEventListener('pointerdown', (event) => {
  const view = event.target.closest('.crop-view');
  if (!view) return;
  event.preventDefault();
  view.focus();
  view.setPointerCapture(event.pointerId);
  const at = spot(event), isWhole = box.join() === [0, 0, ...size].join();
  // A frame that was drawn is carried about; beside it, and in the whole picture, another one is drawn.
  const isInside = at[0] > box[0] && at[1] > box[1] && at[0] < box[2] && at[1] < box[3];
  if (isInside && !isWhole) carried = [at, [...box]]; else from = at;
});
element.addEventListener('pointermove', (event) => {
  const to = from || carried ? spot(event) : null;
  if (from) take([Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])]);
  if (carried) shift(carried[1], to[0] - carried[0][0], to[1] - carried[0][1]);
});
for (const end of ['pointerup', 'pointercancel']) element.addEventListener(end, () => { from = null; carried = null; });
element.addEventListener('keydown', (event) => {
  const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (!way || !event.target.matches('.crop-view') || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const [x, y] = way.map((one, axis) => one * Math.max(1, Math.round(size[axis] / 100)));
  if (event.shiftKey) take([box[0], box[1], box[2] + x, box[3] + y]); else shift(box, x, y);
});
