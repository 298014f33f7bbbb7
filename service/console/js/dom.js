// Elements made in code: every text becomes a text node, so that nothing a client sent is ever markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. Members of `given`: `on…` a listener, `style` an object, true/false/null as attributes go. */
export function h(tag, given = {}, ...children) {
  return built(document.createElement(tag), given, children);
}

/** The same for SVG. */
export function svg(tag, given = {}, ...children) {
  return built(document.createElementNS(SVG, tag), given, children);
}

function built(element, given, children) {
  for (const [name, value] of Object.entries(given)) set(element, name, value);
  element.append(...children.flat(Infinity).filter(isShown).map(asNode));
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
  else if (name === "value") element.value = value;
  else element.setAttribute(name, value === true ? "" : String(value));
}

const isShown = (child) => child !== null && child !== undefined && child !== false;
const asNode = (child) => (child instanceof Node ? child : document.createTextNode(String(child)));

/** Puts new children into `root`; what had the focus, and what was unfolded, stays so where ids match. */
export function replace(root, children) {
  const focused = root.contains(document.activeElement) ? document.activeElement.id : "";
  const open = [...root.querySelectorAll("details[open][id]")].map((each) => each.id);
  root.replaceChildren(...children.flat(Infinity).filter(isShown));
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

/** Says something for a few seconds, also to screen readers. */
export function toast(text, tone = "plain") {
  const shown = h("div", { class: `toast ${tone}` }, text);
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), 6000);
}
