// A line as small as a word.

import { svg } from "./dom.js";

const WIDTH = 72;
const HEIGHT = 20;
const SHOWN = 30;

export class Sparkline {
	#line = svg("path", { class: "line" });
	element = svg("svg", { class: "sparkline", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" }, this.#line);

	show(values) {
		const last = values.slice(-SHOWN);
		const most = Math.max(...last, 1);
		const points = last.map((value, index) => `${(WIDTH - ((last.length - 1 - index) * WIDTH) / (SHOWN - 1)).toFixed(1)} ${(HEIGHT - 2 - (value / most) * (HEIGHT - 4)).toFixed(1)}`);
		this.#line.setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "");
	}
}
