// The form of a job: what a race takes, and what a benchmark.

import { h } from "./dom.js";
import { field } from "./form.js";
import { imageFields, specOf } from "./machine-fields.js";

const NUMBERS = new Set(["runs", "rounds", "seed"]);

// `description`: the service's own, which lists the strategies; null if it could not be read.
export function jobFields(description) {
	const takes = description?.paths["/v1/jobs"].post.requestBody.content["application/json"].schema.properties;
	const strategies = takes?.strategy.enum ?? [];
	const race = h(
		"div",
		{ "data-kind": "race" },
		h("div", { class: "row" }, field({ name: "runs", label: "Runs at most", type: "number", min: 1, value: "200" }), field({ name: "race_seed", path: "seed", label: "Seed", type: "number", min: 0, placeholder: "0" })),
		field({ name: "strategy", label: "Schedules by", options: [["", "the service's choice"], ...strategies.map((name) => [name, name])] }),
		field({ name: "keep_going", type: "checkbox", label: "Go on behind the first failure" }),
	);
	const bench = h(
		"div",
		{ "data-kind": "bench", hidden: true },
		h("div", { class: "row" }, field({ name: "what", label: "What is measured", options: [["boot", "boots"], ["restore", "restores"]] }), field({ name: "rounds", label: "Rounds", type: "number", min: 1, value: "5" })),
		field({ name: "at", label: "Saved where", hint: "Restores begin there: a condition, such as output=ready." }),
	);
	const kind = field({ name: "kind", label: "Job", options: [["race", "Race"], ["bench", "Benchmark"]], onchange: ({ target }) => [race, bench].forEach((part) => (part.hidden = part.dataset.kind !== target.value)) });
	return [kind, imageFields(), race, bench];
}

export function wishOf(form) {
	const kind = form.elements.kind.value;
	const wish = { kind, spec: specOf(form) };
	for (const input of form.querySelectorAll(`[data-kind=${kind}] [data-path]`)) {
		const { path } = input.dataset;
		if (input.type === "checkbox") input.checked && (wish[path] = true);
		else if (input.value) wish[path] = NUMBERS.has(path) ? Number(input.value) : input.value;
	}
	return wish;
}
