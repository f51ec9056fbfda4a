// What a machine was asked to be.

import { h } from "./dom.js";
import { time } from "./format.js";
import { memoryText, vcpus } from "./images.js";
import { panel } from "./panel.js";
import { store, watch } from "./store.js";

const SHOWN_ELSEWHERE = new Set(["memory", "vcpus", "smp"]);

export function factsPanel(machine, signal) {
	const list = h("dl", { class: "facts" });

	function update() {
		const now = store.machines.get(machine.id) ?? machine;
		list.replaceChildren(...facts(now).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
	}

	update();
	watch("machines", machine.id, update, signal);
	return panel({ title: "Description", class: "description" }, list);
}

function facts(machine) {
	const spec = Object.entries(machine.spec).filter(([name]) => !SHOWN_ELSEWHERE.has(name));
	const labels = Object.entries(machine.labels).map(([name, value]) => (value ? `${name}=${value}` : name));
	return [
		["id", machine.id],
		["memory", memoryText(machine)],
		["vCPUs", String(vcpus(machine))],
		...spec.map(([name, value]) => [name.replaceAll("_", " "), typeof value === "string" ? value : JSON.stringify(value)]),
		...(labels.length ? [["labels", labels.join(", ")]] : []),
		["started", time(machine.started)],
		...(machine.ended ? [["ended", time(machine.ended)]] : []),
		["process", processText(machine)],
		["when the service ends", machine.on_shutdown === "stop" ? "is stopped" : "is saved"],
	];
}

function processText({ process, state }) {
	if (process !== null) return String(process);
	return state === "paused" || state === "created" ? "none: it is parked in a file" : "none";
}
