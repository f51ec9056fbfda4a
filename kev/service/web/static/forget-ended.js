// Forgets machines whose runs are over, all at once.

import { machinePath, remove } from "./api.js";
import { openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { plural } from "./format.js";
import { store } from "./store.js";

export function isOver({ state }) {
	return state === "ended" || state === "lost";
}

export function askToForgetEnded() {
	const over = [...store.machines.values()].filter(isOver);
	openDialog({
		title: `Forget ${plural(over.length, "machine")}?`,
		contents: h("p", { class: "soft about" }, "Their consoles, reports and pages are gone then."),
		action: "Forget",
		async submit() {
			for (const { id } of over) await remove(machinePath(id));
		},
	});
}
