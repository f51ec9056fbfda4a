// Saved machines, from which others go on.

import { get, post, remove } from "./api.js";
import { h } from "./dom.js";
import { count, size } from "./format.js";
import { notify, orSay } from "./notices.js";
import { goTo } from "./router.js";

export async function snapshotsView(place, _id, signal) {
	const body = h("tbody");
	const table = h(
		"div",
		{ class: "card scroll" },
		h(
			"table",
			{},
			h("caption", { class: "hidden" }, "Snapshots"),
			h("thead", {}, h("tr", {}, ["Snapshot", "Of", "Saved", "Size", ""].map((name, index) => h("th", { scope: "col", class: index === 3 ? "number" : "" }, name || h("span", { class: "hidden" }, "Actions"))))),
			body,
		),
	);
	const empty = h("div", { class: "card empty" }, h("h2", {}, "No snapshot yet"), h("p", {}, "A machine is saved by its button Snapshot. Others begin where it was, and load its pages when they touch them."));
	const summary = h("p", { class: "soft" });
	table.hidden = empty.hidden = true;
	place.replaceChildren(h("div", { class: "view-head" }, h("h1", {}, "Snapshots"), summary), empty, table);

	async function load() {
		const found = await orSay(() => get("/v1/snapshots", signal));
		if (!found || signal.aborted) return;
		const { snapshots } = found;
		empty.hidden = snapshots.length > 0;
		table.hidden = snapshots.length === 0;
		summary.textContent = snapshots.length ? `${count(snapshots.length)}, ${size(snapshots.reduce((sum, { size: bytes }) => sum + bytes, 0))}` : "";
		body.replaceChildren(...snapshots.map(row));
	}

	function row(snapshot) {
		const go = h("button", { type: "button", "aria-label": `Start a machine from ${snapshot.name}`, onclick: () => orSay(() => goOn(snapshot)) }, "Start from it");
		const forget = h("button", { type: "button", class: "danger", "aria-label": `Delete ${snapshot.name}`, onclick: () => orSay(() => remove(path(snapshot)).then(load)) }, "Delete");
		return h(
			"tr",
			{},
			h("th", { scope: "row" }, snapshot.name, h("span", { class: "soft" }, snapshot.spec.image ?? "")),
			h("td", { "data-label": "Of" }, snapshot.machine_name),
			h("td", { "data-label": "Saved" }, new Date(snapshot.created).toLocaleString("en", { hour12: false })),
			h("td", { class: "number", "data-label": "Size" }, size(snapshot.size)),
			h("td", { class: "actions" }, h("div", { class: "buttons" }, go, forget)),
		);
	}

	await load();
}

function path(snapshot) {
	return `/v1/snapshots/${encodeURIComponent(snapshot.name)}`;
}

async function goOn(snapshot) {
	const machine = await post("/v1/machines", { snapshot: snapshot.name });
	notify(`${machine.name} goes on from ${snapshot.name}.`);
	goTo("machines", machine.id);
}
