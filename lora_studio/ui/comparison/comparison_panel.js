// The address keeps which training is compared with the shown one: `with`. Back and Forward ask for it.
const named = () => new URLSearchParams(location.search).get('with') || '';
const shown = () => element.querySelector('.comparison')?.dataset.with || '';
let kept = named(), awaited = kept;
const ask = (wanted) => { kept = awaited = wanted; trigger('submit', { with: wanted }); };
const keep = () => {
  const now = shown();
  if (awaited && now !== awaited) return; // the address is right, the page comes after it
  awaited = '';
  if (now === kept) return;
  kept = now;
  const query = new URLSearchParams(location.search);
  if (now) query.set('with', now); else query.delete('with');
  history.pushState(null, '', `?${query}`);
};
new MutationObserver(keep).observe(element, { childList: true, subtree: true });
document.addEventListener('click', (event) => { if (event.isTrusted) awaited = ''; }, true);
window.addEventListener('popstate', () => { if (element.isConnected && named() !== shown()) ask(named()); });
if (awaited) setTimeout(ask, 500, awaited); // once the page hears it
