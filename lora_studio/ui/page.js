// What the page itself does in the browser: drafts, the address, a server that does not answer, names for buttons that
// Gradio leaves without. It runs before Gradio's own scripts.
'use strict';

window.studio = (() => {
  const NAME = 'LoRA Studio', KEY = 'lora-studio-draft', LEFT = 'lora-studio-left', LONGEST = 10000, LARGEST = 60000, KEPT = 14 * 86400000;
  const HANGS = 15000, LOOKS = 1000, CALM = 300, CARRIES_NOTHING = [502, 503, 504];

  // Drafts: what was typed, by group. A tab's own comes first, then the browser's. A draft is somebody's, and
  // ends with a log-out, whichever tab it was in.
  const STORES = ['sessionStorage', 'localStorage'];
  let settled = false, silent = '', used = {}, draft = {}, early = new Map(), owner;
  const stored = (store, key) => {
    try { return JSON.parse(window[store].getItem(key)); } catch { return null; } // no storage here, or not ours
  };
  const read = () => STORES.map((store) => stored(store, KEY))
    .find((found) => found && Date.now() - found.at < KEPT && found.at > (stored('localStorage', LEFT) || 0)) || {};
  // What is longest is left out first where all is too much for the store.
  const bounded = (kept) => {
    const text = JSON.stringify(kept);
    if (text.length <= LARGEST) return text;
    const sizes = Object.entries(kept).flatMap(([group, values]) => (typeof values !== 'object' ? []
      : Object.entries(values).map(([name, value]) => [JSON.stringify(value).length, group, name])));
    const [, group, name] = sizes.reduce((one, other) => (other[0] > one[0] ? other : one));
    const { [name]: _, ...others } = kept[group];
    return bounded({ ...kept, [group]: others });
  };
  const write = () => {
    const text = bounded({ ...draft, owner });
    for (const store of STORES) {
      try { window[store].setItem(KEY, text); } catch { /* full, or not allowed */ }
    }
  };
  const forget = () => {
    settled = false;
    draft = {};
    early.clear();
    for (const store of STORES) {
      try { window[store].removeItem(KEY); } catch { /* no storage here */ }
    }
  };
  const small = (value) => typeof value !== 'string' || (value.length <= LONGEST && !value.startsWith('data:'));
  const packed = (names, values) => Object.fromEntries(names.map((name, at) => [name, values[at]])
    .filter(([, value]) => value !== null && value !== undefined && value !== '' && small(value)));
  const keep = (group, names, values) => {
    if (!settled) return;
    const now = packed(names, values);
    if (JSON.stringify(now) === used[group]) return;
    delete used[group];
    draft = { ...draft, [group]: now, at: Date.now() };
    write();
  };
  const finish = (group, names, values) => {
    used[group] = JSON.stringify(packed(names, values));
    delete draft[group];
    write();
  };
  // `boxes` are the text fields: their group and name by the element's id. What is typed while the server is
  // gone reaches no event of Gradio's. `person` is who has logged in, undefined where nobody could say.
  const settle = (boxes, person) => {
    draft = read();
    owner = person ?? draft.owner;
    if ((draft.owner || '') !== (owner || '')) draft = {};
    settled = true;
    const note = (field) => {
      const found = boxes[field.closest?.('.block[id]')?.id];
      if (!found || !small(field.value)) return;
      const [group, name] = found;
      draft = { ...draft, [group]: { ...draft[group], [name]: field.value }, at: Date.now() };
      write();
    };
    // What was typed while the draft was on its way is newer than the draft.
    for (const [field, value] of early) {
      if (!field.isConnected) continue;
      field.value = value;
      field.dispatchEvent(new Event('input', { bubbles: true }));
      note(field);
    }
    early.clear();
    document.addEventListener('input', (event) => { if (settled && silent) note(event.target); });
  };

  document.addEventListener('input', (event) => {
    if (!settled && event.target.matches?.('textarea, input[type=text]')) early.set(event.target, event.target.value);
  });

  // Whoever logs in after this must not find what was typed before.
  document.addEventListener('submit', (event) => {
    if (event.target.id !== 'log-out') return;
    forget();
    try { localStorage.setItem(LEFT, JSON.stringify(Date.now())); } catch { /* no storage here */ }
  });
  window.addEventListener('storage', (event) => { if (event.key === LEFT) forget(); });

  // The address: the tab, and on its tab what is looked at: the training, the LoRA or the picture, the LoRAs that
  // are drawn with. The title says the tab too, and how far what runs has come.
  const PLACES = { train: ['training'], gallery: ['lora', 'image'], generate: ['loras'] };
  const RUNNING = ['#strip .numbers', '#generate-progress .percent'];
  const parameter = (name) => new URLSearchParams(location.search).get(name) || '';
  const shown = { tab: '', training: '', lora: '', image: '', loras: parameter('loras') };
  let front = 'lora';
  const tabs = () => [...document.querySelectorAll('#tabs > .tab-wrapper [role=tab]')];
  const nameOf = (one) => one.id.slice(4, -7);
  const wanted = () => {
    const name = parameter('tab');
    return tabs().some((one) => nameOf(one) === name) ? name : 'upload';
  };
  const address = () => Object.fromEntries(Object.values(PLACES).flat().map((name) => [name, parameter(name)]));
  const choose = (name) => {
    const one = tabs().find((other) => nameOf(other) === name);
    if (one && one.getAttribute('aria-selected') !== 'true') one.click();
  };
  // In the Gallery, the one of the shelf that is in front.
  const shelf = () => (document.querySelector('#gallery-tab-images')?.checkVisibility() ? 'image' : 'lora');
  const push = (how = 'pushState') => {
    const query = new URLSearchParams(location.search);
    query.set('tab', shown.tab);
    for (const [tab, names] of Object.entries(PLACES)) for (const name of names) {
      const here = tab === shown.tab && (tab !== 'gallery' || name === shelf());
      if (here && shown[name]) query.set(name, shown[name]); else query.delete(name);
    }
    if (`${query}` === `${new URLSearchParams(location.search)}`) return;
    history[how](null, '', `?${query}`.replaceAll('%2C', ',').replaceAll('%3A', ':'));
  };
  // What the page shows by now, as its components have it. Another choice of LoRAs to draw with is no step of its
  // own for Back.
  const place = (now) => {
    const changed = Object.keys(now).filter((name) => now[name] !== shown[name]);
    Object.assign(shown, now);
    if (changed.length && shown.tab) push(changed.join() === 'loras' ? 'replaceState' : 'pushState');
  };
  // LoRAs to draw with, each as in a prompt's tag: its name, the weight in the text encoder where that is another
  // one, its weight. A slider says many weights on its way, and browsers bear few changes of an address.
  let stacking;
  const stack = (slugs, weights, texts) => {
    if (!settled) return;
    const named = (slugs || []).map((slug, at) => {
      const weight = weights[at] ?? 1, text = String(texts[at] ?? '').trim().replace(',', '.');
      return [slug, ...(text ? [text, weight] : weight === 1 ? [] : [weight])].join(':');
    });
    clearTimeout(stacking);
    stacking = setTimeout(place, CALM, { loras: named.join(',') });
  };
  // A tab that is shown to some people only, and only once the page knows who they are.
  const first = parameter('tab');
  const late = (name) => { if (first === name && shown.tab === 'upload') setTimeout(choose, 0, name); };
  let ask = () => {};
  const follow = () => {
    const chosen = tabs().find((one) => one.getAttribute('aria-selected') === 'true');
    if (!chosen) return;
    if (!shown.tab) { shown.tab = wanted(); choose(shown.tab); return; }
    if (nameOf(chosen) !== shown.tab) { shown.tab = nameOf(chosen); push(); }
    if (shown.tab === 'gallery' && shelf() !== front) { front = shelf(); push('replaceState'); }
    const running = RUNNING.map((one) => document.querySelector(one)).find((one) => one?.textContent.trim());
    const far = running ? `${running.textContent.split('·')[0].trim()} · ` : '';
    const title = `${far}${chosen.textContent.trim()} · ${NAME}`;
    if (document.title !== title) document.title = title;
  };
  window.addEventListener('popstate', () => {
    shown.tab = wanted();
    choose(shown.tab);
    const asked = address(), names = PLACES[shown.tab] || [];
    if (shown.tab === 'generate') push('replaceState'); // what was chosen there meanwhile stays
    else if (names.some((name) => asked[name] !== shown[name])) ask(Object.fromEntries(names.map((name) => [name, asked[name]])));
  });

  // Our own links to other places of the page: as Back and Forward, the address says what is shown.
  document.addEventListener('click', (event) => {
    const link = event.target.closest?.('a[data-go]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, '', link.getAttribute('href'));
    dispatchEvent(new PopStateEvent('popstate'));
  });

  // Drawing: Ctrl+Enter in any field of Generate, and the way to what an action brings.
  const LEADS = { seed: 'generate-seed', again: 'generate-outcome', vary: 'generate-outcome', redraw: 'generate-redraw' };
  let pressed = '';
  window.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || !event.target.closest?.('#tab-generate')) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    requestAnimationFrame(() => document.getElementById('generate-go')?.click()); // after what was typed is taken over
  }, true);
  document.addEventListener('click', (event) => {
    pressed = event.target.closest?.('#generate-results [data-action]')?.dataset.action || pressed;
  });
  const reveal = (id = LEADS[pressed]) => {
    const one = document.getElementById(id);
    if (!one) return;
    one.classList.add('led-to');
    const top = one.getBoundingClientRect().top, margin = parseFloat(getComputedStyle(one).scrollMarginTop) || 0;
    if (top >= margin && top < innerHeight / 2) return; // in sight
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    one.scrollIntoView({ behavior: calm ? 'auto' : 'smooth', block: 'start' });
  };
  // Our footer stands for Gradio's, whose buttons open what they open.
  document.addEventListener('click', (event) => {
    const name = event.target.closest?.('[data-gradio]')?.dataset.gradio;
    if (name) document.querySelector(`footer .${name}`)?.click();
  });

  // A server that does not answer.
  const asked = new Map();
  const banner = () => {
    let one = document.getElementById('unanswered');
    if (!one) {
      one = document.createElement('div');
      one.id = 'unanswered';
      one.setAttribute('role', 'alert');
      document.body.prepend(one);
    }
    return one;
  };
  const AWAY = 'The studio does not answer; reconnecting.', ENDED = 'Your login has ended.';
  const say = (text) => {
    const one = banner();
    if (one.dataset.said === text) return;
    one.dataset.said = one.textContent = text;
    if (silent !== ENDED) return;
    const link = document.createElement('a');
    link.href = location.href;
    link.textContent = 'Log in again';
    link.addEventListener('click', (event) => { event.preventDefault(); location.reload(); });
    one.append(' ', link);
  };
  // Nothing is sent meanwhile; `why` is one of the two sentences.
  const lost = (why) => {
    if (silent === why) return;
    silent = why;
    document.documentElement.classList.add('unanswered');
    say(`${why} What you typed is kept.`);
  };
  const back = () => {
    if (!silent) return;
    silent = '';
    document.documentElement.classList.remove('unanswered');
    document.getElementById('unanswered')?.remove();
  };
  const fetched = window.fetch.bind(window);
  window.fetch = async (...request) => {
    const url = new URL(request[0]?.url || request[0], location.href), number = Symbol();
    if (url.origin !== location.origin) return fetched(...request);
    if (/\/(run\/|revision$)/.test(url.pathname)) asked.set(number, Date.now());
    try {
      const answer = await fetched(...request);
      if (answer.status === 401) lost(ENDED); else if (CARRIES_NOTHING.includes(answer.status)) lost(AWAY); else back();
      return answer;
    } catch (error) {
      if (error?.name !== 'AbortError') lost(AWAY);
      throw error;
    } finally {
      asked.delete(number);
    }
  };
  setInterval(() => { if ([...asked.values()].some((at) => Date.now() - at > HANGS)) lost(AWAY); }, LOOKS);
  const local = '[role=tab], .label-wrap, [data-testid=toast-close], [data-draw], [popovertarget]';
  window.addEventListener('click', (event) => {
    const button = silent && event.target.closest?.('.gradio-container button, .gradio-container [role=button]');
    if (!button || button.closest(local)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const name = (button.getAttribute('aria-label') || button.innerText || '').trim().slice(0, 60);
    const unsent = name ? `“${name}” was not sent: press it again then.` : 'It was not sent: press it again then.';
    say(`${silent} ${unsent}`);
  }, true);

  // Names.
  const NAMES = [
    ['#upload-files .upload-container', 'Choose pictures or a ZIP, or drop them here'],
    ['#generate-source-file .upload-container', 'Choose a picture to redraw, or drop it here'],
    ['#generate-recall-file .upload-container', 'Choose a picture that has settings, or drop it here'],
    ['.reset-button', 'Back to the default'], // Gradio has these in English only (6.31)
    ['input[data-testid="file-upload"]', 'Choose a file'],
  ];
  const christen = () => {
    for (const [selector, name] of NAMES) for (const one of document.querySelectorAll(selector)) {
      if (one.getAttribute('aria-label') !== name) one.setAttribute('aria-label', name);
      if (one.title && one.title !== name) one.title = name;
    }
    // A toast's head is a button around its own Close (6.31).
    for (const head of document.querySelectorAll('.toast-header[role]')) { head.removeAttribute('role'); head.removeAttribute('tabindex'); }
    if (silent) for (const toast of document.querySelectorAll('.toast-item')) {
      if (toast.textContent.includes('Connection to the server was lost')) toast.style.display = 'none'; // said above
    }
  };

  let due = false;
  const tidy = () => { due = false; follow(); christen(); };
  document.addEventListener('DOMContentLoaded', () => {
    new MutationObserver(() => {
      if (due) return;
      due = true;
      requestAnimationFrame(tidy);
    }).observe(document.body, {
      childList: true, subtree: true, attributes: true, attributeFilter: ['aria-selected', 'aria-label', 'title'],
    });
  });
  return { read: () => ({ ...read(), addressed: parameter('loras') }), keep, finish, reveal, late, settle, isSettled: () => settled, address, place, stack, listen: (listener) => { ask = listener; } };
})();
