// Sort and filter of a shelf. The choice keeps the focus when the lists are made anew.
let chosen = '';
element.addEventListener('change', (event) => {
  const list = event.target.closest('select[data-name]');
  if (!list) return;
  chosen = list.dataset.name;
  trigger('input', { name: chosen, value: list.value }); // not `change`: Gradio sends that itself
});
watch('value', () => {
  if (chosen && document.activeElement === document.body) element.querySelector(`[data-name=${chosen}]`)?.focus();
  chosen = '';
});
