// The language and the theme of the page in the browser. It runs first of all, so that nothing is painted in another one.
'use strict';
window.look = (() => {
  const LANGUAGE = 'lora-studio-language', HEADER = 'x-lora-studio-language', YEAR = 31536000;
  const THEME = 'lora-studio-theme', THEMES = ['light', 'dark'], DARK = '(prefers-color-scheme: dark)';
  const tag = document.documentElement.lang;

  // Gradio's own words come in the language of the browser: here in that of the page.
  for (const [name, value] of [['language', tag], ['languages', [tag]]]) {
    Object.defineProperty(navigator, name, { get: () => value, configurable: true });
  }
  // What this page asks for comes in its own language, also after another tab has chosen one.
  const send = window.fetch.bind(window);
  window.fetch = (asked, how) => {
    if (new URL(asked?.url || asked, location.href).origin !== location.origin) return send(asked, how);
    const headers = new Headers(how?.headers || asked?.headers);
    headers.set(HEADER, tag);
    return send(asked, { ...how, headers });
  };
  const speak = (other) => {
    const where = window.self === window.top ? 'samesite=lax' : 'samesite=none; secure; partitioned'; // on a Space
    document.cookie = `${LANGUAGE}=${other}; path=/; max-age=${YEAR}; ${where}`;
    location.reload();
  };

  // Gradio asks the system for light or dark: it hears what was chosen here.
  const system = window.matchMedia.bind(window);
  const kept = () => {
    try { return localStorage.getItem(THEME); } catch { return ''; } // no storage here
  };
  let theme = THEMES.includes(kept()) ? kept() : '';
  window.matchMedia = (query) => {
    const list = system(query);
    if (!theme || query !== DARK) return list;
    return new Proxy(list, {
      get: (one, name) => {
        if (name === 'matches') return theme === 'dark';
        return typeof one[name] === 'function' ? one[name].bind(one) : one[name];
      },
    });
  };
  const paint = () => {
    const isDark = window.matchMedia(DARK).matches;
    document.documentElement.dataset.theme = isDark ? 'dark' : 'light';
    document.body?.classList.toggle('dark', isDark);
  };
  const choose = (name) => {
    theme = THEMES.includes(name) ? name : '';
    try {
      if (theme) localStorage.setItem(THEME, theme); else localStorage.removeItem(THEME);
    } catch { /* no storage here: it holds until the page is left */ }
    paint();
  };
  system(DARK).addEventListener('change', paint);
  window.addEventListener('storage', (event) => { if (event.key === THEME) choose(event.newValue); });
  document.addEventListener('DOMContentLoaded', paint);
  paint();

  // The menus in the footer. Gradio makes their nodes anew when it likes, so the document listens.
  const values = () => ({ language: tag, theme });
  const takes = { language: speak, theme: choose };
  const show = (menus) => {
    for (const menu of menus.querySelectorAll('[data-look]')) menu.value = values()[menu.dataset.look];
  };
  document.addEventListener('change', (event) => takes[event.target.dataset?.look]?.(event.target.value));
  return { show };
})();
