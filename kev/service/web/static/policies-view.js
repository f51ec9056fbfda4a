// Paging policies side by side: the same image is started with each, and what that costs is put together.

import { h } from "./dom.js";
import { clearRefusals, field, showRefusal } from "./form.js";
import { loadImages } from "./images.js";
import { legend } from "./legend.js";
import { imageFields, latencyField, specOf } from "./machine-fields.js";
import { panel } from "./panel.js";
import { PolicyRun } from "./policy-run.js";
import { policyTable } from "./policy-table.js";

const POLICIES = ["lazy", "around=16", "around=64", "eager"];
const CHOSEN = new Set(["lazy", "eager"]);

export async function policiesView(place, _id, signal) {
	await loadImages().catch(() => {});
	if (signal.aborted) return;
	const results = h("div", { class: "results" });
	const button = h("button", { class: "primary" }, "Compare");
	const form = h(
		"form",
		{ class: "card compare", "aria-label": "What is compared", onsubmit: compare, novalidate: true },
		imageFields(),
		latencyField(),
		h(
			"fieldset",
			{ class: "field policy-choice" },
			h("legend", { class: "label" }, "Policies"),
			POLICIES.map((policy) => h("label", { class: "pill" }, h("input", { type: "checkbox", name: "policy", value: policy, checked: CHOSEN.has(policy) }), h("span", {}, policy))),
		),
		field({ name: "another", path: "spec.paging", label: "Another policy", placeholder: "around=256" }),
		field({ name: "together", type: "checkbox", label: "All at once", hint: "They share the processors then, and each is slower." }),
		h("div", { class: "buttons" }, button),
	);
	form.elements.image.value = "gKeOS";
	place.replaceChildren(
		h("div", { class: "view-head" }, h("h1", {}, "Policies side by side"), h("p", { class: "soft" }, "One image, started once with each policy: what is loaded, and how long until it prints.")),
		h("div", { class: "beside" }, form, results),
	);
	results.append(h("div", { class: "card empty" }, h("h2", {}, "Nothing compared yet"), h("p", {}, "A lazy start waits for nothing but pays for each page when it is touched; an eager one pays before the first instruction. A slow source of the image makes that plain.")));

	async function compare(event) {
		event.preventDefault();
		clearRefusals(form);
		const policies = chosen(form);
		if (!policies.length) {
			showRefusal(form, { message: "Choose one policy at least.", field: "spec.paging" });
			return;
		}
		button.disabled = true;
		try {
			const { paging: _none, ...spec } = specOf(form);
			const runs = policies.map((policy) => new PolicyRun(policy, { ...spec, paging: policy }, signal, () => show(runs)));
			await runs[0].begin();
			begun(runs);
			await (form.elements.together.checked ? together(runs) : inTurn(runs));
		} catch (error) {
			if (!signal.aborted) showRefusal(form, error);
		}
		button.disabled = false;
	}

	let table = null;

	function begun(runs) {
		table = policyTable(runs);
		results.replaceChildren(
			panel({ title: "Figures" }, table.element),
			h("div", { class: "multiples" }, runs.map((run) => run.element)),
			h("div", { class: "card" }, legend([h("li", {}, h("i", { class: "key first-output" }), "first output")])),
		);
		show(runs);
	}

	// All curves have one scale.
	function show(runs) {
		if (!table) return;
		const longest = Math.max(...runs.map((run) => run.curve.end), 0);
		const most = Math.max(...runs.map((run) => run.curve.most), 0);
		runs.forEach((run) => run.curve.draw(longest, most));
		table.show();
	}
}

function chosen(form) {
	const checked = [...form.querySelectorAll("[name=policy]:checked")].map((input) => input.value);
	const another = form.elements.another.value.trim();
	return [...new Set([...checked, ...(another ? [another] : [])])];
}

async function together(runs) {
	await Promise.all(runs.slice(1).map((run) => run.begin()));
	await Promise.all(runs.map((run) => run.finish()));
}

async function inTurn(runs) {
	await runs[0].finish();
	for (const run of runs.slice(1)) {
		await run.begin();
		await run.finish();
	}
}
