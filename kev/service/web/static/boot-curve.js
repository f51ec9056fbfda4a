// How many pages were loaded when, and when the guest printed first.

import { h, say, svg } from "./dom.js";
import { count, milliseconds } from "./format.js";

const WIDTH = 320;
const HEIGHT = 110;

export class BootCurve {
	// In milliseconds, and in pages.
	end = 0;
	most = 0;
	#points = [];
	#output = null;
	#line = svg("path", { class: "line" });
	#marker = svg("path", { class: "marker" });
	#picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": "Not over yet" }, this.#line, this.#marker);
	#scale = h("span", {}, "");
	#top = h("span", {}, "");
	element = h("figure", { class: "curve" }, h("figcaption", { class: "soft" }, h("span", {}, "pages loaded"), this.#top), this.#picture, h("div", { class: "axis soft" }, h("span", {}, "launch"), this.#scale));

	// `timeline` and `report` of a run that is over.
	take({ loads }, report) {
		let pages = 0;
		const ended = loads.time_us.map((begin, index) => [(begin + (loads.duration_us[index] ?? 0)) / 1000, loads.loaded[index] ? loads.pages[index] : 0]);
		ended.sort((one, other) => one[0] - other[0]);
		this.#points = ended.map(([time, more]) => [time, (pages += more)]);
		this.#output = report.first_output_ms;
		this.end = Math.max(report.first_output_ms ?? 0, this.#points.at(-1)?.[0] ?? 0);
		this.most = pages;
	}

	// On a scale that reaches to `longest` milliseconds and `most` pages.
	draw(longest, most) {
		if (!this.#points.length || !longest) return;
		const x = (time) => ((time / longest) * (WIDTH - 2)).toFixed(1);
		const y = (pages) => (HEIGHT - 2 - (pages / most) * (HEIGHT - 6)).toFixed(1);
		const steps = this.#points.map(([time, pages]) => `H${x(time)}V${y(pages)}`).join("");
		this.#line.setAttribute("d", `M0 ${y(0)}${steps}H${x(longest)}`);
		this.#marker.setAttribute("d", this.#output === null ? "" : `M${x(this.#output)} 0V${HEIGHT}`);
		say(this.#scale, milliseconds(longest));
		say(this.#top, count(most));
		this.#picture.setAttribute("aria-label", `${count(this.most)} pages within ${milliseconds(this.end)}, first output after ${milliseconds(this.#output)}`);
	}
}
