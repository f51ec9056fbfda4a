// The form that starts a guest.

import { post } from "./api.js";
import { h } from "./dom.js";
import { openDialog } from "./dialog.js";
import { field } from "./form.js";
import { loadImages } from "./images.js";
import { imageFields, moreFields, pagingField, policyList, specOf } from "./machine-fields.js";
import { goTo } from "./router.js";

export async function openNewMachine() {
	await loadImages();
	const contents = [
		imageFields(),
		policyList(),
		h("div", { class: "row" }, pagingField(), field({ name: "name", label: "Name", placeholder: "its id" })),
		field({ name: "command_line", path: "spec.command_line", label: "Kernel command line" }),
		moreFields(),
		field({ name: "start", type: "checkbox", label: "Start at once", checked: true }),
	];
	const form = openDialog({ title: "Start a guest", contents, action: "Start", submit });
	form.elements.start.addEventListener("change", ({ target }) => (form.querySelector("button.primary").textContent = target.checked ? "Start" : "Create"));
	form.elements.image.focus();
}

async function submit(form) {
	const { name, start } = form.elements;
	const wish = { spec: specOf(form), start: start.checked, ...(name.value.trim() && { name: name.value.trim() }) };
	const machine = await post("/v1/machines", wish);
	goTo("machines", machine.id);
}
