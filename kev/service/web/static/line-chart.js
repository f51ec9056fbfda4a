// A line over time, with its greatest and its latest value.

import { h, say, svg } from "./dom.js";

const WIDTH = 320;
const HEIGHT = 84;

export class LineChart {
	#line = svg("path", { class: "line" });
	#area = svg("path", { class: "area" });
	#latest = h("strong", { class: "latest" }, "–");
	#most = h("span", { class: "most soft" });
	#picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, this.#area, this.#line);
	#title;
	#words;

	// `words(value)`: a value as people read it.
	constructor(title, name, words) {
		this.#title = title;
		this.#words = words;
		const head = h("figcaption", {}, h("span", { class: "chart-title" }, title), this.#latest);
		this.element = h("figure", { class: `chart ${name}` }, head, this.#picture, this.#most);
	}

	// `points`: pairs of a time and a value, in order; all from `begin` to `end` is shown. `isLive`: the last one is of now.
	show(points, begin, end, isLive) {
		const values = points.map(([, value]) => value);
		const most = Math.max(...values, 0);
		const latest = values.at(-1);
		say(this.#latest, latest === undefined || !isLive ? "–" : this.#words(latest));
		say(this.#most, most ? `at most ${this.#words(most)}` : "");
		this.#picture.setAttribute("aria-label", `${this.#title}: ${this.#latest.textContent}, at most ${this.#words(most)}`);
		const place = ([time, value]) => [((time - begin) / (end - begin)) * WIDTH, HEIGHT - 2 - (value / (most || 1)) * (HEIGHT - 8)];
		const path = points.map((point) => place(point).map((part) => part.toFixed(1)).join(" ")).join("L");
		this.#line.setAttribute("d", points.length ? `M${path}` : "");
		const [first, last] = points.length ? [place(points[0])[0], place(points.at(-1))[0]] : [0, 0];
		this.#area.setAttribute("d", points.length ? `M${first.toFixed(1)} ${HEIGHT}L${path}L${last.toFixed(1)} ${HEIGHT}Z` : "");
	}
}
