// What the colours of pages mean.

import { h } from "./dom.js";

const LEGEND = [
	["code", "code"],
	["constants", "constants"],
	["data", "data"],
	["anonymous", "zeros"],
	["loading", "loading"],
	["absent", "absent"],
];

// `more`: behind them.
export function legend(more = []) {
	const items = LEGEND.map(([name, words]) => h("li", {}, h("i", { class: `key ${name}` }), words));
	return h("ul", { class: "legend", "aria-label": "Colours" }, items, more);
}
