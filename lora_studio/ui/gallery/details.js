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
// The focus goes into the sheet, and with its end back to where it came from.
let from = null;
watch('value', () => {
  const close = element.querySelector('[data-action=close]');
  if (close && close.checkVisibility()) {
    if (!element.contains(document.activeElement)) from = document.activeElement;
    close.focus();
  } else if (!close && from) {
    const slug = from.dataset?.slug || from.dataset?.id, again = slug && document.querySelector(`.tile-button[data-slug="${slug}"], .tile-button[data-id="${slug}"]`);
    (from.isConnected ? from : again)?.focus?.();
    from = null;
  }
});
