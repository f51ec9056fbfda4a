// Violations and exits a second, and the exits by kind.

import { get, machinePath } from "./api.js";
import { h } from "./dom.js";
import { count, milliseconds, rate } from "./format.js";
import { LineChart } from "./line-chart.js";
import { panel } from "./panel.js";
import { poll } from "./polling.js";
import { store, watch } from "./store.js";

const SHOWN_MS = 60_000;
const REPORT_MS = 1500;
const TILES = [
	["Violations", (report) => count(report.violations)],
	["Pages loaded", (report) => count(report.pages_loaded)],
	["Waits for a page", (report) => count(report.page_waits)],
	["First output", (report) => milliseconds(report.first_output_ms)],
];

export function ratesPanel(machine, signal) {
	const charts = [
		["violations", new LineChart("Violations a second", "violations", rate)],
		["exits", new LineChart("Exits a second", "exits", rate)],
	];
	const tiles = h("dl", { class: "tiles" });
	const shown = h("div", { class: "charts" }, charts.map(([, chart]) => chart.element));
	const kinds = h("dl", { class: "kinds" });
	const byKind = h("div", {}, h("h3", {}, "Exits by kind"), kinds);

	function draw() {
		const now = performance.now();
		const history = (store.rates.get(machine.id) ?? []).filter(({ at }) => at > now - SHOWN_MS);
		const isLive = store.machines.get(machine.id)?.state === "running";
		shown.hidden = !history.length;
		for (const [name, chart] of charts) chart.show(history.map((entry) => [entry.at, entry[name]]), now - SHOWN_MS, now, isLive);
	}

	async function report() {
		const state = store.machines.get(machine.id)?.state;
		const found = await get(machinePath(machine.id, "/report"), signal);
		showKinds(kinds, found.exits);
		byKind.hidden = false;
		tiles.replaceChildren(...TILES.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value(found)))));
		return state === "running" ? REPORT_MS : null;
	}

	function refused(error) {
		tiles.replaceChildren(h("div", { class: "wide soft" }, error.message));
		byKind.hidden = true;
	}

	draw();
	watch("rates", machine.id, draw, signal);
	const look = poll(report, signal, refused);
	watch("machines", machine.id, () => (draw(), look()), signal);
	return panel({ title: "Activity", class: "rates" }, tiles, shown, byKind);
}

function showKinds(list, exits) {
	const found = Object.entries(exits).sort((one, other) => other[1] - one[1]);
	const most = found[0]?.[1] ?? 1;
	list.replaceChildren(
		...found.map(([kind, number]) => {
			const bar = h("span", { class: "bar-of" });
			bar.style.width = `${Math.max((number / most) * 100, 0.5)}%`;
			return h("div", {}, h("dt", {}, kind), h("dd", {}, h("span", { class: "bar-track" }, bar), h("span", { class: "number" }, count(number))));
		}),
	);
}
