// How a machine is, in a word and in a sentence.

import { h } from "./dom.js";

export function stateBadge(machine) {
	return h("span", { class: `state ${machine.state}` }, machine.state);
}

// Why the run is over; empty if it is not.
export function endText(machine) {
	const { ending } = machine;
	if (ending === null) return machine.message;
	if (ending.kind === "exited") return `exit code ${ending.exit_code}`;
	return ending.message || ending.kind;
}
