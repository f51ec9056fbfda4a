// Forms: a field with its label, its hint and what the service refuses about it.

import { freshId, h } from "./dom.js";

// `path`: what the service calls the field, such as spec.memory. Whatever is left goes to the input.
export function field({ name, label, hint = "", path = name, type = "text", options = null, ...more }) {
	const id = freshId(name);
	const attributes = { id, name, "data-path": path, "aria-describedby": `${id}-hint ${id}-problem`, spellcheck: "false", ...more };
	const input = inputOf(type, options, attributes);
	const words = [h("span", { class: "label" }, label)];
	const about = [h("p", { class: "hint", id: `${id}-hint` }, hint), h("p", { class: "refusal", id: `${id}-problem`, role: "alert" })];
	if (type === "checkbox") return h("div", { class: "field check" }, h("label", { for: id }, input, words), about);
	return h("div", { class: "field" }, h("label", { for: id }, words), input, about);
}

function inputOf(type, options, attributes) {
	if (options) return h("select", attributes, options.map(([value, text]) => h("option", { value }, text)));
	if (type === "textarea") return h("textarea", { rows: 2, ...attributes });
	return h("input", { type, autocomplete: "off", ...attributes });
}

export function setHint(form, name, text) {
	document.getElementById(`${form.elements[name].id}-hint`).textContent = text;
}

export function clearRefusals(form) {
	for (const input of form.elements) input.removeAttribute("aria-invalid");
	for (const refusal of form.querySelectorAll(".refusal")) refusal.textContent = "";
}

// Next to the field that it is about; at the end of the form if there is none.
export function showRefusal(form, error) {
	clearRefusals(form);
	const path = (error.field ?? "").replace(/\[\d+\].*$/, "");
	const input = [...form.elements].find((element) => path && element.dataset.path === path);
	if (!input) {
		form.querySelector(".refusal.general")?.remove();
		form.querySelector(".buttons").before(h("p", { class: "refusal general", role: "alert" }, error.message));
		return;
	}
	input.closest("details")?.setAttribute("open", "");
	input.setAttribute("aria-invalid", "true");
	document.getElementById(`${input.id}-problem`).textContent = withoutPath(error.message, error.field);
	input.focus();
}

// The field is named by its label already.
function withoutPath(message, path) {
	const names = ["body", path, path.split(".").at(-1)];
	return names.reduce((text, name) => (text.startsWith(`${name}: `) ? text.slice(name.length + 2) : text), message);
}
