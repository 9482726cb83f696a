// Looks again each second while a captioning goes on, and lets the pictures be painted anew once it has ended.
const state = () => element.querySelector('[data-state]')?.dataset.state || '';
let was = state();
const timer = setInterval(() => {
  if (!element.isConnected) clearInterval(timer);
  else if (state() === 'running' && !document.hidden) trigger('input', {});
}, 1000);
watch('value', () => {
  const now = state();
  if (was === 'running' && now !== 'running') trigger('apply', {});
  was = now;
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (button && element.contains(button)) trigger(button.dataset.action, {...button.dataset});
});
