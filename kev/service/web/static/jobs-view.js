// Races and benchmarks, with how far they are and what they have found.

import { get, post } from "./api.js";
import { h } from "./dom.js";
import { clearRefusals, showRefusal } from "./form.js";
import { loadImages } from "./images.js";
import { JobCard } from "./job-card.js";
import { jobFields, wishOf } from "./job-fields.js";
import { store } from "./store.js";

export async function jobsView(place, _id, signal) {
	const [description] = await Promise.all([get("/openapi.json", signal), loadImages()]).catch(() => [null]);
	if (signal.aborted) return;
	const cards = new Map();
	const list = h("div", { class: "results" });
	const empty = h("div", { class: "card empty" }, h("h2", {}, "No job yet"), h("p", {}, "A race explores the schedules of a guest for one that goes wrong, and shrinks it; a benchmark compares how it boots, or is restored, with each policy."));
	const form = h(
		"form",
		{ class: "card", "aria-label": "A new job", onsubmit: begin, novalidate: true },
		jobFields(description),
		h("div", { class: "buttons" }, h("button", { class: "primary" }, "Begin")),
	);
	place.replaceChildren(
		h("div", { class: "view-head" }, h("h1", {}, "Jobs"), h("p", { class: "soft" }, "Each has a process of its own, and outlives this page.")),
		h("div", { class: "beside" }, form, h("div", { class: "results" }, empty, list)),
	);

	async function begin(event) {
		event.preventDefault();
		clearRefusals(form);
		try {
			store.job(await post("/v1/jobs", wishOf(form)));
		} catch (error) {
			showRefusal(form, error);
		}
	}

	function update(id) {
		const job = store.jobs.get(id);
		if (!job) {
			cards.get(id)?.element.remove();
			cards.delete(id);
		} else {
			if (!cards.has(id)) {
				cards.set(id, new JobCard());
				list.prepend(cards.get(id).element);
			}
			cards.get(id).show(job);
		}
		empty.hidden = cards.size > 0;
	}

	for (const id of store.jobs.keys()) update(id);
	store.addEventListener("jobs", (event) => update(event.detail), { signal });
}
