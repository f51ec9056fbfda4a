// The figures of the policies that are compared, each with a bar beside it.

import { h } from "./dom.js";
import { count, milliseconds } from "./format.js";

const COLUMNS = [
	["First instruction", (report) => report.launch_ms, milliseconds],
	["First output", (report) => report.first_output_ms, milliseconds],
	["Pages loaded", (report) => report.pages_loaded, count],
	["Violations", (report) => report.violations, count],
	["Waits for a page", (report) => report.page_waits, count],
];

export function policyTable(runs) {
	const rows = runs.map((run) => ({ run, cells: COLUMNS.map(([label]) => h("td", { "data-label": label })), state: h("td", { "data-label": "State" }) }));
	const body = h("tbody", {}, rows.map(({ run, cells, state }) => h("tr", { "data-policy": run.policy }, h("th", { scope: "row" }, run.policy), state, cells)));
	const heads = ["Policy", "State", ...COLUMNS.map(([label]) => label)].map((label) => h("th", { scope: "col" }, label));
	const element = h("div", { class: "scroll" }, h("table", { class: "figures" }, h("caption", { class: "hidden" }, "Policies compared"), h("thead", {}, h("tr", {}, heads)), body));

	function show() {
		for (const { run, state } of rows) state.textContent = run.state;
		COLUMNS.forEach(([, value, words], column) => {
			const values = runs.map((run) => (run.report ? value(run.report) : null));
			const most = Math.max(...values.filter((found) => found !== null), 0);
			rows.forEach(({ cells }, index) => cells[column].replaceChildren(...figure(values[index], most, words)));
		});
	}

	return { element, show };
}

function figure(value, most, words) {
	const bar = h("span", { class: "bar-of" });
	bar.style.width = `${most && value !== null ? (value / most) * 100 : 0}%`;
	return [h("span", { class: "number" }, value === null ? "–" : words(value)), h("span", { class: "bar-track" }, bar)];
}
