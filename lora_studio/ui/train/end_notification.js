// A notification when a training ends, for whom looks elsewhere. `#spoken` says which training is the latest and how it is.
const KEY = 'lora-studio-notify', ACTIVE = ['queued', 'running', 'stopping', 'pausing'];
const NOTED = 6000, DENIED = 'Your browser doesn’t let this page notify you. Allow it in its settings, then press again.';
const bell = element.querySelector('button'), note = element.querySelector('[role=status]');
const can = 'Notification' in window && window.isSecureContext;
const wants = () => {
  try { return localStorage.getItem(KEY) === 'on'; } catch { return false; } // no storage here
};
const isOn = () => can && wants() && Notification.permission === 'granted';
const paint = () => {
  bell.setAttribute('aria-pressed', isOn());
  bell.title = isOn() ? 'You are told when it ends. Press to be left alone.' : 'Tell me when it ends';
};
const say = (text) => {
  note.textContent = text;
  setTimeout(() => { if (note.textContent === text) note.textContent = ''; }, NOTED);
};
bell.hidden = !can;
bell.addEventListener('click', async () => {
  const on = !isOn();
  if (on && await Notification.requestPermission() !== 'granted') { say(DENIED); return; }
  try { localStorage.setItem(KEY, on ? 'on' : 'off'); } catch { /* for this page only, then not at all */ }
  paint();
});
const tell = (title, body, tag) => {
  if (!isOn() || document.hasFocus()) return;
  try {
    const shown = new Notification(title, { body, tag });
    shown.onclick = () => { window.focus(); shown.close(); };
  } catch { /* phones want a worker of their own for that */ }
};
let before = {};
const look = () => {
  const one = document.querySelector('#spoken [data-training]');
  if (!one) return;
  const { training, status, name } = one.dataset;
  if (before.training === training && before.status === status) return;
  const wasActive = ACTIVE.includes(before.status);
  if (wasActive && before.training !== training) tell(before.name, 'This training has ended.', before.training);
  else if (wasActive && !ACTIVE.includes(status)) tell(name, one.textContent.trim(), training);
  before = { training, status, name };
};
paint();
look();
if (can) new MutationObserver(look).observe(document.getElementById('spoken'), { childList: true, subtree: true, attributes: true });
