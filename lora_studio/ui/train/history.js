// The history: which trainings are chosen, also when the list is painted anew, and what is done with them.
const LONGEST = 200, chosen = new Set();
const boxes = () => [...element.querySelectorAll('input[data-pick]')];
const tidy = () => {
  for (const box of boxes()) box.checked = chosen.has(box.dataset.pick);
  const bar = element.querySelector('.picked'), count = boxes().filter((box) => box.checked).length;
  if (!bar) return;
  bar.hidden = !count;
  const words = count ? `${count} chosen` : '';
  if (bar.querySelector('.count').textContent !== words) bar.querySelector('.count').textContent = words;
};
element.addEventListener('change', (event) => {
  const id = event.target.dataset?.pick;
  if (!id) return;
  if (event.target.checked) chosen.add(id); else chosen.delete(id);
  tidy();
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('.picked button');
  if (!button) return;
  event.stopImmediatePropagation();
  if (button.dataset.pick === 'all') {
    for (const box of boxes()) chosen.add(box.dataset.pick);
    tidy();
    return;
  }
  const ids = boxes().filter((box) => box.checked).map((box) => box.dataset.pick).slice(0, LONGEST);
  chosen.clear();
  trigger('delete', { ids: ids.join(','), loras: button.dataset.loras || '' });
});
new MutationObserver(tidy).observe(element, { childList: true, subtree: true });
