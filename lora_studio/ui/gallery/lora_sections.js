// Sections are read when they are unfolded. Those that are open stay open for the next LoRA, and are read for it.
const open = new Set();
let due = false;
const chosen = () => document.querySelector('#gallery-lora-details .star')?.dataset.slug || '';
const read = () => {
  if (due) return;
  due = true;
  setTimeout(() => {
    due = false;
    if (chosen() && open.size) trigger('expand', { slug: chosen(), sections: [...open] });
  });
};
element.addEventListener('toggle', (event) => { // does not bubble
  const one = event.target.closest('details[data-section]');
  if (!one) return;
  if (one.open) open.add(one.dataset.section); else open.delete(one.dataset.section);
  if (one.open && !one.dataset.read) read();
}, true);
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (!button) return;
  const picked = [...element.querySelectorAll('fieldset.row-of-vote')].map((row) => row.querySelector('input:checked')?.value ?? '');
  trigger(button.dataset.action, { ...button.dataset, picks: picked.join(','), sections: [...open] });
});
watch('value', () => {
  for (const one of element.querySelectorAll('details[data-section]')) {
    if (open.has(one.dataset.section) && !one.open) one.open = true;
  }
  // An answer about the LoRA that was chosen before came after the choice of this one.
  const slug = element.querySelector('.sections')?.dataset.slug;
  setTimeout(() => { if (slug && slug !== chosen()) read(); }, 200);
});
