// All machines: a table, which is one of cards where there is no room for it.

import { h, say } from "./dom.js";
import { count, rate } from "./format.js";
import { imageName, loadImages, memoryText, vcpus } from "./images.js";
import { actionButtons } from "./machine-actions.js";
import { askToForgetEnded, isOver } from "./forget-ended.js";
import { endText, stateBadge } from "./machine-state.js";
import { openNewMachine } from "./new-machine.js";
import { Sparkline } from "./sparkline.js";
import { store } from "./store.js";

const COLUMNS = ["Machine", "State", "Memory", "vCPUs", "Violations", "Pages loaded", "Exits a second", ""];
const ORDER = ["running", "paused", "created", "lost", "ended"];

export function machinesView(place, _id, signal) {
	const rows = new Map();
	let isAsked = false;
	const body = h("tbody");
	const heads = COLUMNS.map((name, index) => h("th", { scope: "col", class: index > 1 && index < 7 ? "number" : "" }, name || h("span", { class: "hidden" }, "Actions")));
	const table = h("div", { class: "card scroll" }, h("table", { class: "machines" }, h("caption", { class: "hidden" }, "Machines"), h("thead", {}, h("tr", {}, heads)), body));
	const empty = h(
		"div",
		{ class: "card empty" },
		h("h2", {}, "No machine yet"),
		h("p", {}, "Start a guest: none of its pages is loaded before it is touched, and here you see them come."),
		h("button", { type: "button", class: "primary", onclick: openNewMachine }, "Start a guest"),
	);
	const summary = h("p", { class: "soft" });
	const forget = h("button", { type: "button", onclick: askToForgetEnded }, "Forget ended");
	place.replaceChildren(
		h("div", { class: "view-head" }, h("h1", {}, "Machines"), summary, h("div", { class: "buttons" }, forget, h("button", { type: "button", class: "primary", onclick: openNewMachine }, "Start a guest"))),
		empty,
		table,
	);

	function update(id) {
		const machine = store.machines.get(id);
		if (machine) row(machine).show(machine);
		else {
			rows.get(id)?.element.remove();
			rows.delete(id);
		}
		if (!isAsked) requestAnimationFrame(arrange);
		isAsked = true;
	}

	function row(machine) {
		if (!rows.has(machine.id)) rows.set(machine.id, new Row(machine));
		return rows.get(machine.id);
	}

	function arrange() {
		isAsked = false;
		const machines = [...store.machines.values()];
		const place = ({ state, created }) => [ORDER.indexOf(state), -Date.parse(created)];
		machines.sort((one, other) => place(one)[0] - place(other)[0] || place(one)[1] - place(other)[1]);
		machines.forEach((machine, index) => {
			const { element } = row(machine);
			if (body.children[index] !== element) body.insertBefore(element, body.children[index] ?? null);
		});
		empty.hidden = machines.length > 0;
		table.hidden = machines.length === 0;
		forget.hidden = !machines.some(isOver);
		const running = machines.filter((machine) => machine.state === "running").length;
		say(summary, machines.length ? `${count(running)} running, ${count(machines.length)} in all` : "");
	}

	store.machines.forEach((machine) => row(machine).show(machine));
	arrange();
	store.addEventListener("machines", (event) => update(event.detail), { signal });
	store.addEventListener("rates", (event) => rows.get(event.detail)?.showRates(), { signal });
	loadImages().then(() => store.machines.forEach((machine) => row(machine).show(machine)), () => {});
}

class Row {
	#id;
	#state = h("td", { "data-label": "State" });
	#memory = h("td", { class: "number", "data-label": "Memory" });
	#vcpus = h("td", { class: "number", "data-label": "vCPUs" });
	#violations = h("td", { class: "number", "data-label": "Violations" });
	#pages = h("td", { class: "number", "data-label": "Pages loaded" });
	#exits = h("span");
	#sparkline = new Sparkline();
	#actions = h("td", { class: "actions" });
	#shownState = "";

	constructor(machine) {
		this.#id = machine.id;
		const name = h("th", { scope: "row" }, h("a", { href: `#/machines/${machine.id}` }, machine.name), h("span", { class: "soft" }, imageName(machine)));
		const exits = h("td", { class: "number", "data-label": "Exits a second" }, this.#sparkline.element, this.#exits);
		this.element = h("tr", {}, name, this.#state, this.#memory, this.#vcpus, this.#violations, this.#pages, exits, this.#actions);
	}

	show(machine) {
		this.#memory.textContent = memoryText(machine);
		this.#vcpus.textContent = vcpus(machine);
		if (this.#shownState !== machine.state) {
			this.#shownState = machine.state;
			this.#state.replaceChildren(stateBadge(machine), h("span", { class: "soft why", title: endText(machine) || null }, endText(machine)));
			this.#actions.replaceChildren(h("div", { class: "buttons" }, actionButtons(machine)));
		}
		this.showRates();
	}

	showRates() {
		const machine = store.machines.get(this.#id);
		const last = store.lastRate(this.#id);
		say(this.#violations, count(Math.max(last?.total ?? 0, machine.violations)));
		say(this.#pages, count(Math.max(last?.pages ?? 0, machine.pages_loaded)));
		say(this.#exits, last ? rate(last.exits) : "–");
		this.#sparkline.show(last ? store.rates.get(this.#id).map(({ exits }) => exits) : []);
	}
}
