// One machine: its console, its memory, its exits, its display, and what can be done to it.

import { Refusal, get, machinePath } from "./api.js";
import { consolePanel } from "./console-panel.js";
import { displayPanel } from "./display-panel.js";
import { h } from "./dom.js";
import { heatMapPanel } from "./heat-map.js";
import { loadImages } from "./images.js";
import { actionButtons } from "./machine-actions.js";
import { factsPanel } from "./machine-facts.js";
import { endText, stateBadge } from "./machine-state.js";
import { ratesPanel } from "./rates-panel.js";
import { goTo } from "./router.js";
import { store, watch } from "./store.js";

export async function machineView(place, id, signal) {
	const machine = store.machines.get(id) ?? (await find(id, place));
	await loadImages().catch(() => {});
	if (!machine || signal.aborted) return;
	document.title = `${machine.name} – kev`;
	const state = h("span", { class: "state-line" });
	const actions = h("div", { class: "buttons" });
	place.replaceChildren(
		h("a", { class: "back", href: "#/machines" }, "All machines"),
		h("div", { class: "view-head" }, h("h1", {}, machine.name), state, actions),
		h(
			"div",
			{ class: "panels" },
			h("div", { class: "column" }, consolePanel(machine, signal), displayPanel(machine, signal)),
			h("div", { class: "column" }, heatMapPanel(machine, signal)),
			h("div", { class: "column" }, ratesPanel(machine, signal), factsPanel(machine, signal)),
		),
	);
	let shown = null;

	function update() {
		const now = store.machines.get(machine.id);
		if (!now) {
			goTo("machines");
			return;
		}
		if (shown === now.state) return;
		shown = now.state;
		state.replaceChildren(stateBadge(now), h("span", { class: "soft" }, endText(now)));
		const hadFocus = actions.contains(document.activeElement);
		actions.replaceChildren(...actionButtons(now, true));
		if (hadFocus) actions.querySelector("button")?.focus();
	}

	update();
	watch("machines", machine.id, update, signal);
}

async function find(id, place) {
	try {
		const machine = await get(machinePath(id));
		store.machine(machine);
		return machine;
	} catch (error) {
		const text = error instanceof Refusal && error.status === 404 ? "There is no machine of this name (any more)." : error.message;
		place.replaceChildren(h("div", { class: "card empty" }, h("h1", {}, "Not there"), h("p", {}, text), h("a", { href: "#/machines" }, "All machines")));
		return null;
	}
}
