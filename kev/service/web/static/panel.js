// One part of a view, under a heading.

import { freshId, h } from "./dom.js";

export function panel({ title, aside = null, class: name = "" }, ...contents) {
	const id = freshId("panel");
	return h(
		"section",
		{ class: `card ${name}`, "aria-labelledby": id },
		h("div", { class: "panel-head" }, h("h2", { id }, title), aside),
		contents,
	);
}
