// Asks for the token, once.

import { logIn } from "./api.js";
import { h } from "./dom.js";
import { field, showRefusal } from "./form.js";

// Resolves when the service knows who asks.
export function askForToken(place) {
	return new Promise((resolve) => {
		const form = h(
			"form",
			{ class: "card login", onsubmit: enter, novalidate: true },
			h("h1", {}, "Who asks?"),
			h("p", { class: "soft" }, "The service tells its machines to whoever knows its token. It is in the file that ", h("code", {}, "kev serve --token-file"), " names."),
			field({ name: "token", label: "Token", type: "password", autocomplete: "current-password", required: true }),
			h("div", { class: "buttons" }, h("button", { class: "primary" }, "Enter")),
		);
		place.replaceChildren(form);
		form.elements.token.focus();

		async function enter(event) {
			event.preventDefault();
			try {
				await logIn(form.elements.token.value.trim());
				resolve();
			} catch (error) {
				showRefusal(form, error);
			}
		}
	});
}
