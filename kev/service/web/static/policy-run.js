// A machine that is started with one of the policies which are compared.

import { get, machinePath, post } from "./api.js";
import { BootCurve } from "./boot-curve.js";
import { h, say } from "./dom.js";
import { count, milliseconds, plural } from "./format.js";
import { HeatPicture } from "./heat-picture.js";
import { Regions } from "./regions.js";

const LOOK_MS = 250;
const SETTLED_MS = 1500;
const LONGEST_MS = 120_000;
const CELLS = 900;
const HEIGHT = 150;

export class PolicyRun {
	// The figures so far, as the service reports them; null before the first.
	report = null;
	state = "waiting";
	curve = new BootCurve();
	#spec;
	#signal;
	#changed;
	#id = null;
	#range = "";
	#picture;
	#words = h("p", { class: "soft" }, "waits for its turn");

	constructor(policy, spec, signal, changed) {
		this.policy = policy;
		this.#spec = spec;
		this.#signal = signal;
		this.#changed = changed;
		const canvas = h("canvas", { class: "heat small", role: "img", "aria-label": `Pages of the image that are there with ${policy}` });
		this.#picture = new HeatPicture(canvas, () => HEIGHT, signal);
		this.link = h("a", {}, policy);
		this.element = h("section", { class: "card multiple", "aria-label": policy }, h("h3", {}, this.link), canvas, this.curve.element, this.#words);
	}

	// What is refused is thrown.
	async begin() {
		const machine = await post("/v1/machines", { spec: { ...this.#spec, timeline: true }, labels: { comparison: this.policy } });
		this.#id = machine.id;
		this.link.href = `#/machines/${machine.id}`;
		this.#become("running");
	}

	// When it has ended, or prints and loads nothing any more: it is stopped then.
	async finish() {
		const began = performance.now();
		let settledSince = began;
		let pages = -1;
		let isOver = false;
		while (!isOver) {
			isOver = await this.#look();
			const now = performance.now();
			if (this.report.pages_loaded !== pages || this.report.first_output_ms === null) settledSince = now;
			pages = this.report.pages_loaded;
			if (!isOver && (now - settledSince > SETTLED_MS || now - began > LONGEST_MS)) await post(machinePath(this.#id, "/stop"));
			if (!isOver) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
			this.#signal.throwIfAborted();
		}
		this.curve.take(await get(machinePath(this.#id, "/timeline"), this.#signal), this.report);
		this.#become("done");
	}

	// Whether the run is over.
	async #look() {
		const { state } = await get(machinePath(this.#id), this.#signal);
		this.report = await get(machinePath(this.#id, "/report"), this.#signal);
		this.#picture.show(await this.#cells());
		this.#tell();
		return state === "ended" || state === "lost";
	}

	async #cells() {
		const path = machinePath(this.#id, `/pages/cells?count=${CELLS}`);
		if (!this.#range) {
			const found = await get(path, this.#signal);
			const [start, end] = new Regions(found.regions).imageRange ?? [0, found.end];
			this.#range = `&start=${start}&end=${end}`;
		}
		return get(path + this.#range, this.#signal);
	}

	#tell() {
		const { report } = this;
		say(this.#words, `${plural(report.pages_loaded, "page")} loaded, the image has ${count(report.image_pages)}; prints after ${milliseconds(report.first_output_ms)}`);
		this.#changed();
	}

	#become(state) {
		this.state = state;
		this.element.dataset.state = state;
		this.#changed();
	}
}
