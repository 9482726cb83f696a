// Undo and Redo, and the focus, which stays on the same button, or goes to the other where that one is gone.
let held = '';
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (!button) return;
  held = button.dataset.key;
  const {limit, order} = document.querySelector('#upload-pictures [data-after]')?.dataset || {};
  trigger('click', {limit, order, ...button.dataset});
});
new MutationObserver(() => {
  const all = [...element.querySelectorAll('[data-key]')];
  if (held && document.activeElement === document.body) (all.find((one) => one.dataset.key === held) || all[0])?.focus();
  held = '';
}).observe(element, {childList: true, subtree: true});
