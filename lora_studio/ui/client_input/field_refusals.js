// Refused settings: each sentence stands below its own field until the field is another, and the first field is
// led to. Gradio makes the fields of a fold when it is first unfolded, and sets values without an event: so
// while something is refused, its fields are looked at.
const EVERY = 200, PATIENCE = 40;
let refused = [], timer = 0;

const seen = (one) => Boolean(one?.getClientRects().length);
const controls = (block) => [...block.querySelectorAll('textarea, input:not([type=file], [type=range]), .upload-container')];
const valueOf = ({ watched }, block) => (watched ? document.querySelectorAll(`#${watched} :is(.tile img, .progress-level)`).length
  : JSON.stringify(controls(block).map((one) => (one.type === 'radio' || one.type === 'checkbox' ? one.checked : one.value))));
// Opens the folds of a list, which loses those that are open; an inner one may come only with the outer one.
const pressed = new Map();
const unfold = (pending) => {
  while (pending.length) {
    const [id] = pending, fold = document.getElementById(id);
    if (!fold) return;
    const head = fold.querySelector(':scope > .label-wrap'), button = head || fold.querySelector('[data-action=change]');
    if (button && !head?.classList.contains('open') && Date.now() - (pressed.get(id) || 0) > 1000) {
      pressed.set(id, Date.now());
      button.click();
    }
    pending.shift();
  }
};
// Leads to a field, by its element's id and the ids of the folds around it.
const lead = (id, folds, left = PATIENCE) => {
  unfold(folds);
  const block = document.getElementById(id), at = block && controls(block).find(seen);
  if (at) {
    const chosen = controls(block).find((one) => one.checked && seen(one)) || at;
    block.scrollIntoView({ block: 'center' });
    chosen.focus({ preventScroll: true });
    return;
  }
  if (left) setTimeout(lead, 50, id, folds, left - 1);
};
window.studio.lead = lead;

const described = (one, id, on) => {
  const ids = new Set((one.getAttribute('aria-describedby') || '').split(' ').filter(Boolean));
  if (on) ids.add(id); else ids.delete(id);
  if (ids.size) one.setAttribute('aria-describedby', [...ids].join(' ')); else one.removeAttribute('aria-describedby');
};
// What is at fault, said to screen readers where its role can be said to be: a choice of radios as a whole.
const marked = (block, on) => {
  const isChoice = block.matches('fieldset');
  for (const one of isChoice ? [block] : controls(block).filter((other) => other.matches('input, textarea'))) {
    if (on) one.setAttribute('aria-invalid', 'true'); else one.removeAttribute('aria-invalid');
  }
  if (isChoice && on) block.setAttribute('role', 'radiogroup');
  if (isChoice && !on) block.removeAttribute('role');
};
const attach = (problem, block) => {
  const note = document.createElement('p');
  note.className = 'field-error';
  note.id = `${problem.element}-error`;
  note.textContent = problem.sentence;
  block.append(note);
  block.classList.add('at-fault');
  marked(block, true);
  for (const one of block.matches('fieldset') ? [block, ...controls(block)] : controls(block)) described(one, note.id, true);
};
const detach = ({ element: id }) => {
  const block = document.getElementById(id);
  document.getElementById(`${id}-error`)?.remove();
  if (!block) return;
  block.classList.remove('at-fault');
  marked(block, false);
  for (const one of [block, ...controls(block)]) described(one, `${id}-error`, false);
};
const look = () => {
  for (const problem of refused) {
    unfold(problem.pending);
    const block = document.getElementById(problem.element);
    if (!block) continue;
    const value = valueOf(problem, block);
    problem.value ??= value;
    problem.corrected = value !== problem.value;
    if (problem.corrected) { detach(problem); problem.row.remove(); }
    else if (!document.getElementById(`${problem.element}-error`)) attach(problem, block);
    problem.row.classList.toggle('at-its-field', seen(document.getElementById(`${problem.element}-error`)));
  }
  refused = refused.filter((problem) => !problem.corrected);
  if (!refused.length) { clearInterval(timer); timer = 0; element.querySelectorAll('.refused').forEach((one) => { one.hidden = true; }); }
};
const take = () => {
  const rows = [...element.querySelectorAll('li[data-element]')];
  refused.forEach(detach);
  refused = rows.map((row) => {
    const { element: id, watched, folds } = row.dataset, sentence = row.querySelector('.why').textContent;
    return { row, element: id, watched, sentence, folds: folds.split(' ').filter(Boolean), pending: folds.split(' ').filter(Boolean) };
  });
  clearInterval(timer);
  timer = 0;
  if (!refused.length) return;
  timer = setInterval(look, EVERY);
  look();
  const inSight = refused.map((one) => ({ one, block: document.getElementById(one.element) })).filter(({ block }) => seen(block));
  const [first] = inSight.sort((a, b) => (a.block.compareDocumentPosition(b.block) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1));
  const { element: id, folds } = first?.one || refused[0] || {};
  if (id) lead(id, [...folds]);
};
element.addEventListener('click', (event) => {
  const row = event.target.closest('button') && event.target.closest('li');
  const problem = refused.find((one) => one.row === row);
  if (problem) lead(problem.element, [...problem.folds]);
});
new MutationObserver(() => { if (!refused.some(({ row }) => row.isConnected)) take(); }).observe(element, { childList: true, subtree: true });
