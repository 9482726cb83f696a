// Asks whether anything changed, and lets the page look again only then. In a hidden tab it asks seldom.
const FIRST = 1, HIDDEN = 15, AGAIN = 2, LOOKS_AFTER_INPUT = 2, BETWEEN_SUBMITS = 10000;
let timer, asking = false, owed = 0, changed = false, submitted = 0;
const painted = () => element.querySelector('[data-revision]')?.dataset.revision;
const ask = async () => {
  if (asking || !element.isConnected) return;
  clearTimeout(timer);
  asking = true;
  let seconds = AGAIN;
  try {
    const answer = await fetch('revision', { cache: 'no-store' });
    if (answer.ok) {
      const now = await answer.json();
      seconds = now.seconds;
      const moved = now.revision !== painted();
      changed ||= moved || owed > 0;
      if (owed || moved) trigger('tick');
      if (changed && Date.now() - submitted > BETWEEN_SUBMITS) {
        [changed, submitted] = [false, Date.now()];
        trigger('submit');
      }
      owed = Math.max(0, owed - 1);
    }
  } catch { /* page.js says that nobody answers */ }
  asking = false;
  timer = setTimeout(ask, 1000 * (document.hidden ? HIDDEN : seconds));
};
// Gradio may not report a change of a field that comes while the last one is being answered (6.31): so the
// page looks after input too, twice, since the first look may come before the field's own event.
for (const kind of ['click', 'input', 'keydown']) {
  document.addEventListener(kind, (event) => { if (event.isTrusted) owed = LOOKS_AFTER_INPUT; }, true);
}
document.addEventListener('visibilitychange', () => { if (!document.hidden) ask(); });
timer = setTimeout(ask, 1000 * FIRST);
