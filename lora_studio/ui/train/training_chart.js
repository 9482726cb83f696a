// The smoothing of the loss: the moving mean over more or fewer points, drawn anew here. It is kept for the tab,
// also when the curves are painted anew.
const KEY = 'lora-studio-smoothing', SHARES = [0, 1 / 24, 1 / 12, 1 / 6, 1 / 3], HEIGHT = 160, USUAL = 2;
const kept = () => { try { return Number(sessionStorage.getItem(KEY) ?? USUAL); } catch { return USUAL; } };
const smooth = () => {
  const field = element.querySelector('.smoothing input'), svg = element.querySelector('svg[data-losses]');
  if (!field || !svg) return;
  const losses = JSON.parse(svg.dataset.losses), [low, high] = JSON.parse(svg.dataset.limits), chosen = kept();
  const points = svg.querySelector('.raw').getAttribute('points').split(' ').map((pair) => pair.split(',')[0]);
  const span = chosen ? Math.max(3, Math.floor(losses.length * SHARES[chosen])) : 1;
  let total = 0;
  const line = losses.map((loss, at) => {
    total += loss - (at >= span ? losses[at - span] : 0);
    const mean = Math.min(high, Math.max(low, total / Math.min(at + 1, span)));
    return `${points[at]},${(HEIGHT * (1 - (mean - low) / (high - low))).toFixed(1)}`;
  });
  field.value = chosen;
  field.setAttribute('aria-valuetext', `mean of ${span} of ${losses.length} points`);
  svg.querySelector('.smooth').setAttribute('points', line.join(' '));
};
element.addEventListener('input', (event) => {
  if (!event.target.closest('.smoothing')) return;
  try { sessionStorage.setItem(KEY, event.target.value); } catch { /* no storage here */ }
  smooth();
});
new MutationObserver(smooth).observe(element, { childList: true, subtree: true });
smooth();
