// The keyboard: arrows choose a tab, one stop for all tabs and for all choices of a question, ways past what comes
// first, and a place for the focus when what had it goes.
'use strict';
(() => {
  const SKIP_CONTENT = 'Skip to the content', SKIP_BUTTON = 'Skip to the main button';
  const MOVES = { ArrowLeft: (at) => at - 1, ArrowRight: (at) => at + 1, Home: () => 0, End: () => -1 };
  // What a tab is for, the first that can be pressed.
  const MAIN = {
    upload: '#upload-train', train: '#train-next button', gallery: '#gallery-lora-use, #gallery-image-use', generate: '#generate-go',
  };
  // Where the focus goes when what had it has done its work and goes. Pause and Resume see to it themselves.
  const HEIRS = {
    'gallery-lora-delete': '#gallery-lora-undo', 'gallery-lora-undo': '#gallery-lora-grid .tile-button[tabindex="0"]',
    'gallery-image-delete': '#gallery-image-undo', 'gallery-image-undo': '#gallery-image-grid .tile-button[tabindex="0"]',
    'generate-stop': '#generate-go', 'train-pause': '', 'train-resume': '',
  };
  const FOCUSABLE = 'button, a[href], input, select, textarea, summary, [tabindex="0"]';
  const LEAVING = ['Tab', 'Shift', 'Control', 'Alt', 'Meta'];
  const SETTLED = 350, WAITS = 12;
  const isSeen = (one) => Boolean(one?.isConnected) && one.checkVisibility({ visibilityProperty: true });
  const canTake = (one) => isSeen(one) && !one.disabled;
  const firstOf = (selector, within = document) => [...within.querySelectorAll(selector)].find(canTake);
  const chosenTab = () => document.querySelector('#tabs > .tab-wrapper [role=tab][aria-selected=true]');
  const tabName = () => (chosenTab()?.id || '').slice(4, -7);

  window.addEventListener('keydown', (event) => {
    const one = event.target.closest?.('[role=tablist] [role=tab]'), move = MOVES[event.key];
    if (!one || !move || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const all = [...one.closest('[role=tablist]').querySelectorAll('[role=tab]:not([aria-disabled=true])')];
    const other = all.at(move(all.indexOf(one)) % all.length);
    other.click();
    other.focus();
  }, true);

  const arrangeStops = () => {
    for (const one of document.querySelectorAll('[role=tablist] [role=tab]')) {
      one.tabIndex = one.getAttribute('aria-selected') === 'true' ? 0 : -1;
    }
    for (const group of document.querySelectorAll('fieldset.block[id]')) {
      for (const one of group.querySelectorAll('input[type=radio]')) one.name = group.id;
    }
    for (const one of document.querySelectorAll('.gr-accordion > .label-wrap')) {
      one.setAttribute('aria-expanded', one.classList.contains('open'));
    }
  };

  const toContent = () => {
    const content = document.getElementById(`tab-${tabName()}`);
    if (!content) return;
    content.tabIndex = -1;
    content.focus();
  };
  const toMainButton = () => {
    const button = firstOf(MAIN[tabName()] || 'none');
    if (!button) { toContent(); return; }
    button.focus();
    button.scrollIntoView({ block: 'nearest' });
  };
  const addSkipLinks = () => {
    const links = document.createElement('nav');
    links.id = 'skip';
    links.setAttribute('aria-label', 'Skip');
    for (const [text, go] of [[SKIP_CONTENT, toContent], [SKIP_BUTTON, toMainButton]]) {
      const link = document.createElement('a');
      link.href = '#tabs';
      link.textContent = text;
      link.addEventListener('click', (event) => { event.preventDefault(); go(); });
      links.append(link);
    }
    document.body.prepend(links);
  };

  // The focus that was lost. What had it is looked for once more, for HTML that was painted anew has it again; else
  // its heir, its panel, and the chosen tab in the end. With a pointer it may be lost: nobody looks for it.
  let held = null, byKeys = false, waiting = 0;
  const facts = (one) => JSON.stringify({ ...one.dataset });
  const twinOf = ({ element, panel, id }) => {
    if (id) return canTake(document.getElementById(id)) ? document.getElementById(id) : null;
    const kind = element.tagName.toLowerCase(), same = panel?.isConnected ? [...panel.querySelectorAll(kind)] : [];
    return Object.keys(element.dataset).length ? same.find((one) => facts(one) === facts(element) && canTake(one)) : null;
  };
  const look = (last) => {
    waiting = 0;
    if (!byKeys || document.activeElement !== document.body || isSeen(last.element)) return;
    const heir = HEIRS[last.id], next = twinOf(last) || (heir ? firstOf(heir) : null);
    if (!next && heir && last.tries < WAITS) {
      last.tries += 1;
      waiting = setTimeout(look, SETTLED, last);
      return;
    }
    const inside = isSeen(last.panel) ? firstOf(FOCUSABLE, last.panel) : null;
    (next || inside || chosenTab())?.focus({ preventScroll: !next && !inside });
  };
  const lookSoon = () => {
    if (held && byKeys && !waiting && HEIRS[held.id] !== '') waiting = setTimeout(look, SETTLED, held);
  };
  document.addEventListener('focusin', (event) => {
    const element = event.target;
    held = { element, id: element.id, panel: element.parentElement?.closest('.panel[id], .block[id]'), tries: 0 };
  });
  document.addEventListener('pointerdown', () => { byKeys = false; }, true);
  document.addEventListener('keydown', (event) => {
    byKeys = true;
    // Gradio's lists (6.31) open again at the keys by which they are left, and stay open over the page.
    if (LEAVING.includes(event.key) && event.target.matches?.('input[role=combobox]')) event.stopPropagation();
  }, true);

  let due = false;
  document.addEventListener('DOMContentLoaded', () => {
    addSkipLinks();
    new MutationObserver(() => {
      lookSoon();
      if (due) return;
      due = true;
      requestAnimationFrame(() => { due = false; arrangeStops(); });
    }).observe(document.body, {
      childList: true, subtree: true, attributes: true, attributeFilter: ['aria-selected', 'class', 'style', 'hidden'],
    });
  });
})();
