// The quiet line: its buttons, and which stopped trainings this window no longer wants to see.
const KEY = 'lora-studio-seen-stops';
const read = () => { try { return JSON.parse(sessionStorage.getItem(KEY)) || []; } catch { return []; } };
const tidy = () => {
  const gone = read(), rows = [...element.querySelectorAll('[data-stop]')];
  for (const row of rows) row.hidden = gone.includes(row.dataset.stop);
  const card = element.querySelector('.paused-line');
  if (card) card.hidden = ![...card.querySelectorAll('li')].some((row) => !row.hidden);
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (!button || !element.contains(button)) return;
  const { action, id } = button.dataset;
  if (action !== 'dismiss') return trigger(action, { id });
  try { sessionStorage.setItem(KEY, JSON.stringify([...read(), button.dataset.stop].slice(-50))); } catch { /* no storage here */ }
  tidy();
});
new MutationObserver(tidy).observe(element, { childList: true, subtree: true });
