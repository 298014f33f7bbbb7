// What stands around every page: the name, where to go, which model, light or dark, and whether it is live.

import { h, replace } from "./dom.js";
import { icon, mark } from "./icons.js";
import { button } from "./parts.js";
import { may, session } from "./session.js";
import { isDark, toggleTheme } from "./theme.js";

/** The frame; gives the element that pages are put into and functions that change the frame. */
export function buildShell(root, { pages, onModel, onTheme, onSignOut }) {
  const main = h("main", { id: "page", tabindex: -1 });
  const live = h("span", { class: "live off", id: "live" }, "Connecting");
  const picker = h("select", { id: "model", "aria-label": "Model", onchange: () => onModel(picker.value) });
  const links = new Map(pages.map((page) => [page.name, navLink(page)]));
  replace(root, [
    h("a", { class: "skip", href: "#page", onclick: (event) => { event.preventDefault(); main.focus(); } }, "To the page"),
    h("header", { class: "top" },
      h("a", { class: "brand", href: "#/overview", "aria-label": "Trimtab, to the overview" }, mark(), h("span", {}, "Trimtab")),
      h("div", { class: "top-model" }, picker, live),
      h("div", { class: "top-tools" }, themeButton(onTheme), account(onSignOut))),
    h("nav", { class: "nav", "aria-label": "Pages" }, [...links.values()]),
    main,
  ]);
  return {
    main,
    setModels: (names, chosen) => setModels(picker, names, chosen),
    setPage: (name) => links.forEach((link, each) => setCurrent(link, each === name)),
    setLive: (text, tone) => { live.textContent = text; live.className = `live ${tone}`; },
  };
}

function navLink({ name, title, role }) {
  const allowed = may(role);
  return h("a", { class: allowed ? "nav-link" : "nav-link locked", href: `#/${name}`, id: `nav-${name}` },
    icon(allowed ? name : "lock"), h("span", {}, title));
}

function setCurrent(link, current) {
  if (current) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
}

function setModels(picker, names, chosen) {
  picker.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  picker.value = chosen;
  picker.hidden = names.length === 0;
}

function themeButton(onTheme) {
  const made = button("", () => { toggleTheme(); show(); onTheme(); }, { class: "button tool", id: "theme" });
  const show = () => {
    made.replaceChildren(icon(isDark() ? "sun" : "moon"));
    made.setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours");
  };
  show();
  return made;
}

function account(onSignOut) {
  if (session.auth === "off") return h("span", { class: "account", title: "Without keys everybody on this machine may do everything" }, "no keys");
  return [
    h("span", { class: "account", title: `Roles: ${session.roles.join(", ")}` }, session.name),
    h("button", { type: "button", class: "button tool", id: "sign-out", "aria-label": "Sign out", onclick: onSignOut }, icon("out")),
  ];
}
