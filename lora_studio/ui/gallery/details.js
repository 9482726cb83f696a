// Details: on a phone they lie over the page as a sheet, which Escape closes too.
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (button && element.contains(button)) trigger(button.dataset.action === 'mark' ? 'like' : 'click', { ...button.dataset });
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || event.target.closest?.('input, textarea, select')) return;
  const close = element.querySelector('[data-action=close]');
  if (close && close.checkVisibility()) close.click();
});
watch('value', () => {
  const close = element.querySelector('[data-action=close]');
  if (close && close.checkVisibility()) close.focus();
});
