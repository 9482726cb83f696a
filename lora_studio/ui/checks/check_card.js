// The card looks again when the pictures or the training are others than they were, and each second while a check
// goes on. What is folded open stays so, and all buttons of the findings are one stop of the keyboard.
const SECOND = 1000, KEYS = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
const text = (selector) => document.querySelector(selector)?.textContent || '';
const open = new Set();
let asked = '', before = '', held = '', typed = 0;
const state = () => element.querySelector('[data-mark]')?.dataset || {};
const training = () => [
  document.querySelector('#upload-pictures [data-painted]')?.dataset.painted, text('#upload-edits'), text('#upload-called'),
  document.querySelector('#upload-kind input:checked')?.value, document.querySelector('#upload-base input')?.value, typed,
].join('\n');
document.addEventListener('change', (event) => { if (event.target.closest?.('#upload-settings')) typed += 1; });
const look = () => {
  if (!element.isConnected) { clearInterval(timer); return; }
  if (document.hidden || !document.getElementById('upload-files')?.checkVisibility()) return;
  const now = training(), isSettled = now === before;
  before = now;
  if (state().state !== 'running' && (now === asked || !isSettled)) return;
  asked = now;
  trigger('input', { mark: state().mark || '' });
};
const timer = setInterval(look, SECOND);

const stops = () => [...element.querySelectorAll('.check-list :is(button, summary)')].filter((one) => one.checkVisibility());
const stopAt = (stop) => { for (const one of element.querySelectorAll('.check-list :is(button, summary)')) one.tabIndex = one === stop ? 0 : -1; };
const arrange = () => {
  for (const fold of element.querySelectorAll('[data-fold]')) fold.open = open.has(fold.dataset.fold);
  const all = [...element.querySelectorAll('.check-list :is(button, summary)')];
  stopAt(all.find((one) => one.dataset.key === held) || all[0]);
  if (held && document.activeElement === document.body) {
    (element.querySelector(`[data-key="${CSS.escape(held)}"]:not(:disabled)`) || element.querySelector('[data-key]'))?.focus();
  }
};
element.addEventListener('toggle', (event) => {
  const name = event.target.dataset.fold;
  if (!name || !event.target.isConnected) return;
  if (event.target.open) open.add(name); else open.delete(name);
}, true);
element.addEventListener('focusin', (event) => { held = event.target.dataset?.key || ''; });
element.addEventListener('focusout', (event) => { if (event.relatedTarget) held = ''; });
element.addEventListener('keydown', (event) => {
  const all = stops(), at = all.indexOf(event.target), by = KEYS[event.key];
  if (at < 0 || by === undefined || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const next = all[Math.min(all.length - 1, Math.max(0, at + by))];
  stopAt(next);
  next.focus();
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (!button || !element.contains(button)) return;
  const { limit, order } = document.querySelector('#upload-pictures [data-after]')?.dataset || {};
  trigger(button.dataset.action, { limit, order, ...button.dataset });
  if (button.dataset.action === 'select') document.getElementById('picture-count')?.scrollIntoView({ block: 'start' });
});
watch('value', arrange);
arrange();
