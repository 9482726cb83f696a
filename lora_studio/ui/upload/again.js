// A training that is set up as another one was: leads to the settings that are changed most, and says what is
// different by now. The value that a field had when it was first entered is that of the other training.
const first = new Map();
let run = '';
const card = () => element.querySelector('.again');
const blockOf = (target) => target.closest?.('#upload-setup .block[id^="train-"], #upload-setup .block[id^="upload-"]');
const field = (block) => block.querySelector('input:not([type=radio], [type=checkbox], [type=file]), textarea');
const valueOf = (block) => {
  const chosen = block.querySelector('input[type=radio]:checked');
  return (chosen ? chosen.value : field(block)?.value || field(block)?.placeholder || '').trim();
};
const labelOf = (block) => (block.querySelector('[data-testid="block-info"]') || block.querySelector('label span'))?.textContent.trim() || block.id;
const tell = () => {
  const list = element.querySelector('.differences');
  if (!list) return;
  const lines = [...first].map(([id, before]) => [document.getElementById(id), before])
    .filter(([block, before]) => block && valueOf(block) !== before)
    .map(([block, before]) => `${labelOf(block)}: ${before || '–'} → ${valueOf(block) || '–'}`);
  if (list.textContent === lines.join('')) return;
  list.replaceChildren(...lines.map((line) => Object.assign(document.createElement('li'), { textContent: line })));
};
document.addEventListener('focusin', (event) => {
  const block = card() && blockOf(event.target);
  if (block && !first.has(block.id)) first.set(block.id, valueOf(block));
});
for (const kind of ['input', 'change', 'focusout']) document.addEventListener(kind, () => { if (card()) setTimeout(tell, 100); });
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.dataset.field) studio.lead(button.dataset.field, button.dataset.folds.split(' '));
  else card().remove();
});
new MutationObserver(() => {
  const now = card()?.dataset.run || '';
  if (now === run) return;
  run = now;
  first.clear();
  if (now) card().scrollIntoView({ block: 'nearest' });
}).observe(element, { childList: true, subtree: true });
