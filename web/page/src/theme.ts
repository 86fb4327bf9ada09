/**
 * Light, dark or as the system has it. A script of its own, run before the first paint, so that a chosen theme never
 * flashes the other one, nor a link's page the usual settings.
 */
(() => {
  const KEY = 'theme';
  const names = { auto: 'Auto', light: 'Light', dark: 'Dark' } as const;
  type Theme = keyof typeof names;
  const order: Theme[] = ['auto', 'light', 'dark'];

  // Storage throws where a browser forbids it; the choice then holds for this visit.
  const read = (): Theme => {
    try {
      const kept = localStorage.getItem(KEY);
      return order.find((theme) => theme === kept) ?? 'auto';
    } catch {
      return 'auto';
    }
  };
  const keep = (theme: Theme) => {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      /* see above */
    }
  };

  let theme = read();
  const apply = () => {
    document.documentElement.dataset.theme = theme;
    const name = document.getElementById('theme-name');
    if (name) name.textContent = names[theme];
  };
  apply();
  document.documentElement.toggleAttribute('data-linked', location.hash.length > 1);
  addEventListener('DOMContentLoaded', () => {
    apply();
    document.getElementById('theme')?.addEventListener('click', () => {
      theme = order[(order.indexOf(theme) + 1) % order.length] ?? 'auto';
      keep(theme);
      apply();
    });
  });
})();
