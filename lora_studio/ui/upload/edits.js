// Undo, Redo, and versions, which are one stop of the keyboard with arrows between them; and the focus, which stays
// on the same button, or goes to the other where that one is gone.
let held = '', isOpen = false;
const named = () => element.querySelector('.version-name input');
const unfold = () => {
  const fold = element.querySelector('details.set-versions');
  if (fold && fold.open !== isOpen) fold.open = isOpen;
};
element.addEventListener('keydown', (event) => {
  if (event.target === named() && event.key === 'Enter') { element.querySelector('[data-edit=name]').click(); return; }
  const list = event.target.closest('.version-list'), step = {ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1}[event.key];
  if (!list || !step || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const all = [...list.querySelectorAll('button')], next = all.at((all.indexOf(event.target) + step) % all.length);
  for (const one of all) one.tabIndex = one === next ? 0 : -1;
  next.focus();
});
element.addEventListener('click', (event) => {
  const summary = event.target.closest('.set-versions > summary'), button = event.target.closest('[data-action]');
  if (summary) isOpen = !summary.parentElement.open;
  if (!button) return;
  held = button.dataset.key;
  const {limit, order} = document.querySelector('#upload-pictures [data-after]')?.dataset || {};
  const facts = {limit, order, ...button.dataset};
  if (facts.edit === 'name') {
    facts.version = named().value;
    named().value = '';
  }
  trigger('click', facts);
});
new MutationObserver(() => {
  unfold();
  const all = [...element.querySelectorAll('[data-key]')];
  if (held && document.activeElement === document.body) (all.find((one) => one.dataset.key === held) || all[0])?.focus();
  held = '';
}).observe(element, {childList: true, subtree: true});
watch('value', unfold);
