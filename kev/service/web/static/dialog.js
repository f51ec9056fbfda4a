// A form over the page.

import { h } from "./dom.js";
import { clearRefusals, showRefusal } from "./form.js";

// Shows `contents` with buttons; `submit(form)` does what it is for, and the dialog closes if nothing is refused.
export function openDialog({ title, contents, action, submit }) {
	const button = h("button", { class: "primary" }, action);
	const form = h(
		"form",
		{ onsubmit: send, novalidate: true },
		h("h2", {}, title),
		contents,
		h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), button),
	);
	const dialog = h("dialog", { "aria-label": title, onclose: () => dialog.remove() }, form);
	document.body.append(dialog);
	dialog.showModal();
	return form;

	async function send(event) {
		event.preventDefault();
		clearRefusals(form);
		button.disabled = true;
		try {
			await submit(form);
			dialog.close();
		} catch (error) {
			showRefusal(form, error);
		} finally {
			button.disabled = false;
		}
	}
}
