// Light or dark: what the system says, until the reader says otherwise.

const KEY = "trimtab.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

export const isDark = () => document.documentElement.dataset.theme === "dark";

/** Sets the theme and keeps following the system; `onChange` where something is drawn in its colours. */
export function followTheme(onChange) {
  apply();
  system.addEventListener("change", () => { apply(); onChange(); });
}

/** The other theme; kept in this browser. */
export function toggleTheme() {
  localStorage.setItem(KEY, isDark() ? "light" : "dark");
  apply();
}

function apply() {
  const chosen = localStorage.getItem(KEY) ?? (system.matches ? "dark" : "light");
  document.documentElement.dataset.theme = chosen;
}
