const INK = '#d946ef';
const parts = () => ({
  image: element.querySelector('.easel img'), canvas: element.querySelector('.easel canvas'),
  ring: element.querySelector('.easel .ring'), brush: element.querySelector('.easel .brush'),
  erase: element.querySelector('.easel [data-draw=erase]'),
});
let last = null, painting = false, changed = false;
const radius = () => parts().brush.value / 100 * Math.max(parts().canvas.width, parts().canvas.height) / 2;

const setUp = (image) => {
  const { canvas } = parts();
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  last = { x: canvas.width / 2, y: canvas.height / 2 };
  if (!image.dataset.mask) return;
  const mask = new Image();
  mask.onload = () => {
    const pen = canvas.getContext('2d');
    pen.drawImage(mask, 0, 0, canvas.width, canvas.height);
    const dots = pen.getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < dots.data.length; at += 4) dots.data[at + 3] = dots.data[at];
    pen.putImageData(dots, 0, 0);
    pen.globalCompositeOperation = 'source-in';
    pen.fillStyle = INK;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.globalCompositeOperation = 'source-over';
  };
  mask.src = image.dataset.mask;
};
const place = (event) => {
  const { canvas } = parts(), box = canvas.getBoundingClientRect();
  return { x: (event.clientX - box.left) * canvas.width / box.width, y: (event.clientY - box.top) * canvas.height / box.height };
};
const showRing = (at) => {
  const { canvas, ring } = parts(), scale = canvas.clientWidth / canvas.width;
  ring.style.width = ring.style.height = `${2 * radius() * scale}px`;
  ring.style.left = `${at.x * scale}px`;
  ring.style.top = `${at.y * scale}px`;
};
const stroke = (from, to) => {
  const { canvas, erase } = parts(), pen = canvas.getContext('2d');
  pen.globalCompositeOperation = erase.getAttribute('aria-pressed') === 'true' ? 'destination-out' : 'source-over';
  pen.strokeStyle = INK;
  pen.lineCap = pen.lineJoin = 'round';
  pen.lineWidth = 2 * radius();
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x + 0.01, to.y);
  pen.stroke();
  pen.globalCompositeOperation = 'source-over';
  changed = true;
};
const hand = (mask) => {
  element.querySelector('.easel').dataset.drawn = mask;
  trigger('submit', {});
};
const send = () => {
  const { canvas } = parts();
  changed = false;
  const seen = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  if (!seen.some((value, at) => at % 4 === 3 && value)) return hand('');
  const white = new OffscreenCanvas(canvas.width, canvas.height), sheet = document.createElement('canvas');
  const pen = white.getContext('2d');
  pen.drawImage(canvas, 0, 0);
  pen.globalCompositeOperation = 'source-in';
  pen.fillStyle = 'white';
  pen.fillRect(0, 0, canvas.width, canvas.height);
  sheet.width = canvas.width;
  sheet.height = canvas.height;
  const paper = sheet.getContext('2d');
  paper.fillStyle = 'black';
  paper.fillRect(0, 0, sheet.width, sheet.height);
  paper.drawImage(white, 0, 0);
  hand(sheet.toDataURL('image/png'));
};
const invert = () => {
  const { canvas } = parts(), pen = canvas.getContext('2d');
  pen.globalCompositeOperation = 'source-out';
  pen.fillStyle = INK;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.globalCompositeOperation = 'source-over';
};

element.addEventListener('load', (event) => { if (event.target.matches('.easel img')) setUp(event.target); }, true);
element.addEventListener('pointerdown', (event) => {
  if (event.target !== parts().canvas) return;
  event.preventDefault();
  event.target.focus({ preventScroll: true });
  event.target.setPointerCapture(event.pointerId);
  painting = true;
  last = place(event);
  stroke(last, last);
});
element.addEventListener('pointermove', (event) => {
  if (event.target !== parts().canvas) return;
  const at = place(event);
  showRing(at);
  if (painting) { stroke(last, at); last = at; }
});
for (const name of ['pointerup', 'pointercancel']) element.addEventListener(name, () => {
  if (painting && changed) send();
  painting = false;
});
element.addEventListener('keydown', (event) => {
  const { canvas } = parts();
  if (event.target !== canvas) return;
  const step = Math.max(1, radius() / 2);
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (!(event.key in moves) && event.key !== ' ') return;
  event.preventDefault();
  const [x, y] = moves[event.key] || [0, 0];
  const at = { x: Math.min(canvas.width, Math.max(0, last.x + x)), y: Math.min(canvas.height, Math.max(0, last.y + y)) };
  if (event.key === ' ') painting = true;
  if (painting) stroke(last, at);
  last = at;
  showRing(at);
});
element.addEventListener('keyup', (event) => {
  if (event.target !== parts().canvas || event.key !== ' ') return;
  if (changed) send();
  painting = false;
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-draw]');
  if (!button) return;
  const { canvas } = parts(), action = button.dataset.draw;
  if (action === 'remove') return trigger('click', {});
  if (action === 'erase') return button.setAttribute('aria-pressed', button.getAttribute('aria-pressed') !== 'true');
  if (action === 'clear') canvas.getContext('2d').clearRect(0, 0, canvas.width, canvas.height);
  if (action === 'invert') invert();
  send();
});
