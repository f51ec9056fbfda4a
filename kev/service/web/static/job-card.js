// One job.

import { get, remove } from "./api.js";
import { h } from "./dom.js";
import { resultOf } from "./job-result.js";
import { orSay } from "./notices.js";

const STATES = { waiting: "created", running: "running", done: "ended", failed: "lost", cancelled: "paused" };

export class JobCard {
	#title = h("h2");
	#state = h("span");
	#progress = h("progress", { "aria-label": "How far it is" });
	#words = h("p", { class: "soft progress" });
	#result = h("div");
	#button = h("button", { type: "button" });
	#job = null;
	#hasResult = false;
	element = h("section", { class: "card job" }, h("div", { class: "panel-head" }, this.#title, this.#state, h("div", { class: "buttons" }, this.#button)), this.#progress, this.#words, this.#result);

	constructor() {
		this.#button.addEventListener("click", () => orSay(() => remove(`/v1/jobs/${this.#job.id}`)));
	}

	show(job) {
		this.#job = job;
		const isOver = !["waiting", "running"].includes(job.state);
		const subject = job.request.spec?.image ?? job.request.program ?? "";
		this.#title.textContent = `${job.kind === "race" ? "Race" : "Benchmark"} of ${subject.split("/").at(-1)}`;
		this.#state.className = `state ${STATES[job.state]}`;
		this.#state.textContent = job.state;
		this.element.dataset.state = job.state;
		this.#button.textContent = isOver ? "Delete" : "Cancel";
		this.#button.setAttribute("aria-label", `${this.#button.textContent} ${this.#title.textContent}`);
		this.#progress.hidden = isOver;
		this.#advance(job);
		this.#words.textContent = job.message || (isOver ? "" : job.progress || (job.state === "waiting" ? "waits for its turn" : "has begun"));
		this.#words.hidden = !this.#words.textContent;
		if (job.state === "done" && !this.#hasResult) orSay(() => this.#fetch(job));
	}

	// Races say first how many runs there were.
	#advance(job) {
		const runs = Number(/^([\d,]+) runs?/.exec(job.progress)?.[1].replaceAll(",", "") ?? NaN);
		if (job.kind === "race" && job.request.runs && runs >= 0) {
			this.#progress.max = job.request.runs;
			this.#progress.value = runs;
		} else this.#progress.removeAttribute("value");
	}

	async #fetch(job) {
		this.#hasResult = true;
		const { result } = job.result ? job : await get(`/v1/jobs/${job.id}`);
		this.#result.replaceChildren(...resultOf(job, result));
	}
}
