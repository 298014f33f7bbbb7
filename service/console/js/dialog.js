// Questions before something happens: what will happen is said, and nothing happens on Escape.

import { h } from "./dom.js";
import { button, notice } from "./parts.js";

/** Asks; resolves to {reason, force} or null.

    consequences: sentences that say what will happen. force: a sentence to be ticked, where a rule is overridden. */
export function confirm({ title, consequences, action, kind = "primary", force = null }) {
  return new Promise((resolve) => {
    const reason = h("input", { id: "why", type: "text", maxlength: 500, autocomplete: "off" });
    const tick = h("input", { id: "force", type: "checkbox" });
    const act = button(action, () => finish(true), { kind });
    const box = h("dialog", { class: "dialog", "aria-labelledby": "dialog-title", onclose: () => finish(false) },
      h("h2", { id: "dialog-title" }, title),
      h("p", { class: "dialog-says" }, "What will happen:"),
      h("ul", { class: "consequences" }, consequences.filter(Boolean).map((each) => h("li", {}, each))),
      force && notice("bad", h("label", { class: "tick" }, tick, h("span", {}, force))),
      h("label", { class: "field" }, h("span", {}, "Why (kept with the event)"), reason),
      h("div", { class: "dialog-actions" }, button("Cancel", () => finish(false)), act));
    if (force) {
      act.disabled = true;
      tick.addEventListener("change", () => { act.disabled = !tick.checked; });
    }
    let finished = false;
    function finish(agreed) {
      if (finished) return;
      finished = true;
      box.remove();
      resolve(agreed ? { reason: reason.value.trim(), force: tick.checked } : null);
    }
    document.body.append(box);
    box.showModal();
  });
}
