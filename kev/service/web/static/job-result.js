// What a job has come to.

import { h } from "./dom.js";
import { count, milliseconds, plural } from "./format.js";

export function resultOf(job, result) {
	return [...(job.kind === "race" ? race(result) : bench(result)), raw(result)];
}

function race(result) {
	const tried = `${plural(result.runs, "run")}, ${plural(result.schedules, "distinct schedule")}, in ${milliseconds(result.seconds * 1000)}`;
	if (!result.failures.length) return [h("p", { class: "verdict" }, "Nothing went wrong."), h("p", { class: "soft" }, tried)];
	return [h("p", { class: "soft" }, tried), ...result.failures.map(failure)];
}

function failure({ message, run, switches, shrunk }) {
	const found = shrunk ?? { switches, token: null };
	const where = `${run < 0 ? "kept from a race before" : `found in run ${count(run + 1)}`}${shrunk ? `, shrunk from ${plural(switches, "switch", "switches")} to ${count(found.switches)}` : ""}`;
	return h(
		"div",
		{ class: "failure" },
		h("p", { class: "verdict bad" }, message),
		h("p", { class: "soft" }, where),
		found.token && h("p", { class: "token" }, h("code", {}, `kev race replay ${found.token}`)),
	);
}

const METRICS = [
	["first_output_ms", "First output", milliseconds],
	["end_ms", "End", milliseconds],
	["pages_loaded", "Pages loaded", count],
	["violations", "Violations", count],
];

function bench(result) {
	const metrics = METRICS.filter(([name]) => result.cases.some(({ metrics: found }) => name in found));
	const head = h("tr", {}, h("th", { scope: "col" }, "Case"), metrics.map(([, label]) => h("th", { scope: "col", class: "number" }, label)));
	const rows = result.cases.map(({ scenario, parameters, metrics: found }) => {
		const { image: _image, ...others } = parameters;
		const cells = metrics.map(([name, label, words]) => h("td", { class: "number", "data-label": label }, found[name] ? words(found[name].median) : "–"));
		return h("tr", {}, h("th", { scope: "row" }, Object.values(others).join(", ") || scenario), cells);
	});
	return [
		h("div", { class: "scroll" }, h("table", {}, h("caption", { class: "soft" }, `Medians of ${plural(result.rounds, "round")}`), h("thead", {}, head), h("tbody", {}, rows))),
	];
}

function raw(result) {
	return h("details", {}, h("summary", {}, "All of it, as JSON"), h("pre", { tabindex: "0" }, JSON.stringify(result, null, 2)));
}
