// The trash. What can't be taken back asks once more: a second press within some seconds does it.
const PATIENCE = 5000, EVENTS = { undo: 'click', purge: 'delete', empty: 'clear' };
const name = (button, words) => { if (button.dataset.label) button.setAttribute('aria-label', words); };
const calm = (button) => {
  button.textContent = button.dataset.calm;
  delete button.dataset.calm;
  name(button, button.dataset.label);
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (!button || !element.contains(button)) return;
  if (button.dataset.sure && !button.dataset.calm) {
    button.dataset.calm = button.textContent;
    button.textContent = button.dataset.sure;
    name(button, `${button.dataset.label} – press again`);
    setTimeout(() => { if (button.dataset.calm) calm(button); }, PATIENCE);
    return;
  }
  const { action, id } = button.dataset;
  if (button.dataset.calm) calm(button);
  trigger(EVENTS[action], { action, id });
});
