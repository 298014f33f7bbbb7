// Signing in with an API key.

import { h } from "../dom.js";
import { mark } from "../icons.js";
import { code } from "../parts.js";
import { signIn } from "../session.js";

/** The form; `onDone` when the key is good for something. */
export function signInPage(onDone) {
  const input = h("input", { id: "key", type: "password", autocomplete: "current-password", required: true, autofocus: true, "aria-describedby": "key-error" });
  const error = h("p", { id: "key-error", class: "field-error", role: "alert" });
  const form = h("form", { class: "sign-in", onsubmit: (event) => { event.preventDefault(); void attempt(input, error, onDone); } },
    h("div", { class: "brand big" }, mark(), h("span", {}, "Trimtab")),
    h("h1", {}, "Sign in"),
    h("label", { class: "field" }, h("span", {}, "API key"), input),
    error,
    h("button", { type: "submit", class: "button primary" }, "Sign in"),
    h("p", { class: "note" }, "The key stays in this browser tab. Make one on the machine of the service: ",
      code("trimtab keys add NAME --roles read,feedback,operate")));
  return h("main", { class: "sign-in-page" }, form);
}

async function attempt(input, error, onDone) {
  error.textContent = "";
  try {
    if (await signIn(input.value.trim())) return void (await onDone());
    error.textContent = "This key is not known. A new key is known within a second or two; a revoked one no more.";
  } catch (problem) {
    error.textContent = problem.message;
  }
  input.focus();
  input.select();
}
