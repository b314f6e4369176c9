// What the browser tests ask of a page as a whole. Each question is answered by
// a list of faults, in words.
window.look = (() => {
  const root = document.documentElement;
  const all = css => [...document.querySelectorAll(css)];
  const name = e => `<${e.localName}${e.id ? ` id=${e.id}` : ''}${e.className && e.className.trim ? ` class="${e.className}"` : ''}> "${(e.textContent || e.value || '').trim().replace(/\s+/g, ' ').slice(0, 50)}"`;
  // What is for the ears alone is a pixel wide, and the link past the header is
  // elsewhere until it has the focus.
  const forEars = e => e !== root && (e.getBoundingClientRect().width <= 1 && getComputedStyle(e).overflow !== 'visible' || forEars(e.parentElement));
  const seen = e => e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !e.closest('.skip') && !forEars(e);
  const style = e => getComputedStyle(e);

  // unfold opens what is folded, but for menus: they lie on top of the rest. fold
  // closes it again.
  const unfolded = new Set();
  const unfold = () => { all('details:not(.menu, [open])').forEach(d => { unfolded.add(d); d.open = true; }); return []; };
  const fold = () => { unfolded.forEach(d => { d.open = false; }); return []; };

  // cutOff: text that is outside the window, or that a box hides. Boxes that
  // scroll by themselves hide nothing.
  const cutOff = () => {
    const faults = [], width = root.clientWidth;
    if (root.scrollWidth > width) faults.push(`the page is ${root.scrollWidth} pixels wide in a window of ${width}`);
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let n = walk.nextNode(); n; n = walk.nextNode()) {
      const e = n.parentElement;
      if (!n.data.trim() || !seen(e)) continue;
      const range = document.createRange();
      range.selectNodeContents(n);
      const rects = [...range.getClientRects()].filter(r => r.width > 0);
      let outside = rects.some(r => r.left < -1 || r.right > width + 1) && 'the window';
      for (let box = e; box !== root; box = box.parentElement) {
        const { overflowX, overflowY } = style(box), b = box.getBoundingClientRect();
        if (overflowX === 'auto' || overflowX === 'scroll') { outside = outside === 'the window' ? false : outside; break; }
        if (overflowX !== 'visible' && rects.some(r => r.left < b.left - 1 || r.right > b.right + 1)) outside = name(box);
        if (overflowY !== 'visible' && rects.some(r => r.top < b.top - 3 || r.bottom > b.bottom + 3)) outside = name(box);
      }
      if (outside) faults.push(`${name(e)} is cut off by ${outside}`);
    }
    return faults;
  };

  // targets: what is to be hit and is smaller than 24 by 24 pixels (WCAG 2.2,
  // 2.5.8), other than links within a sentence. A label is part of its checkbox.
  const targets = () => all('a[href], button, summary, select, textarea, input:not([type=hidden])').filter(e => seen(e) && e.tabIndex >= 0).flatMap(e => {
    const label = e.labels && e.labels[0];
    const r = ((e.type === 'checkbox' || e.type === 'radio') && label ? label : e).getBoundingClientRect();
    const within = e.localName === 'a' && style(e).display === 'inline' && e.parentElement.textContent.trim() !== e.textContent.trim();
    return within || (r.width >= 23.9 && r.height >= 23.9) ? [] : [`${name(e)} is ${r.width.toFixed(1)} by ${r.height.toFixed(1)} pixels`];
  });

  // focus: what does not show that it has the focus, or has it out of sight.
  const focus = () => {
    const faults = [], before = document.activeElement;
    for (const e of all('a[href], button, summary, select, textarea, input:not([type=hidden])')) {
      if (e.tabIndex < 0 || !e.checkVisibility({ visibilityProperty: true })) continue;
      const shadow = style(e).boxShadow;
      e.focus();
      if (document.activeElement !== e) { faults.push(`${name(e)} takes no focus`); continue; }
      const s = style(e), r = e.getBoundingClientRect();
      const ring = s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 && !/, 0\)$/.test(s.outlineColor);
      if (!e.matches(':focus-visible') || !ring && s.boxShadow === shadow) faults.push(`${name(e)} does not show that it has the focus`);
      if (r.bottom < 0 || r.top > innerHeight || r.right < 0 || r.left > innerWidth) faults.push(`${name(e)} has the focus out of sight`);
    }
    if (before) before.focus();
    return faults;
  };

  // problem: where the focus is when something is wrong.
  const problem = () => {
    const p = document.getElementById('problem');
    if (!p) return [];
    const faults = document.activeElement === p ? [] : [`the focus is at ${name(document.activeElement || document.body)}, not at the summary of problems`];
    for (const a of p.querySelectorAll('a[href^="#"]')) {
      const field = document.getElementById(a.hash.slice(1));
      if (!field) { faults.push(`${name(a)} leads nowhere`); continue; }
      if (field.getAttribute('aria-invalid') !== 'true') faults.push(`${name(field)} is not marked as wrong`);
      // The field may say it in fewer words, which are the same to begin with.
      const said = (field.getAttribute('aria-describedby') || '').split(' ').map(id => document.getElementById(id)?.textContent || '').join(' ');
      if (!said.includes(a.textContent.trim().slice(0, 12))) faults.push(`${name(field)} says "${said}", not "${a.textContent}"`);
    }
    return faults;
  };

  // atEase sets the size of text, in percent, and space in it, as WCAG 2.2
  // (1.4.12) allows readers to, and tells what is cut off then.
  const atEase = (percent, spaced) => {
    root.style.fontSize = percent === 100 ? '' : `${percent}%`;
    const sheet = new CSSStyleSheet();
    if (spaced) sheet.replaceSync('* { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important } p { margin-block-end: 2em !important }');
    document.adoptedStyleSheets = [sheet];
    return cutOff().map(f => `${f} (${innerWidth} pixels, ${percent} %${spaced ? ', spaced' : ''})`);
  };

  // rules is what axe-core finds.
  const standards = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
  // Colours alone differ between light and dark.
  const rules = every => axe.run(document, {
    runOnly: every ? standards : { type: 'rule', values: ['color-contrast'] }, resultTypes: ['violations', 'incomplete'],
  }).then(r => ({
    faults: r.violations.flatMap(v => v.nodes.map(n => `axe: ${v.id} (${v.impact}): ${n.html.slice(0, 160)}\n${n.failureSummary}`)),
    unsure: r.incomplete.flatMap(v => v.nodes.map(n => `${v.id}: ${n.html.slice(0, 120)}`)),
    rules: r.passes.length,
  }));

  return { unfold, fold, cutOff, targets, focus, problem, atEase, rules };
})();
