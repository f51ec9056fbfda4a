// What can be done to a machine, as its state allows.

import { machinePath, post, remove } from "./api.js";
import { h } from "./dom.js";
import { openDialog } from "./dialog.js";
import { field } from "./form.js";
import { notify, orSay } from "./notices.js";
import { goTo } from "./router.js";

const ACTIONS = [
	{ name: "start", label: "Start", states: ["created"], run: (machine) => post(machinePath(machine.id, "/start")) },
	{ name: "pause", label: "Pause", states: ["running"], run: (machine) => post(machinePath(machine.id, "/pause")) },
	{ name: "resume", label: "Resume", states: ["paused"], run: (machine) => post(machinePath(machine.id, "/resume")) },
	{ name: "snapshot", label: "Snapshot", states: ["created", "running", "paused"], isMore: true, run: askForSnapshot },
	{ name: "fork", label: "Fork", states: ["created", "running", "paused"], isMore: true, run: fork },
	{ name: "stop", label: "Stop", states: ["created", "running", "paused"], run: (machine) => post(machinePath(machine.id, "/stop")) },
	{ name: "delete", label: "Delete", states: ["ended", "lost"], run: forget },
];

// `all`: also those that are seldom needed.
export function actionButtons(machine, all = false) {
	return ACTIONS.filter((action) => action.states.includes(machine.state) && (all || !action.isMore)).map((action) =>
		h(
			"button",
			{
				type: "button",
				class: action.name === "delete" ? "danger" : "",
				"data-action": action.name,
				"aria-label": `${action.label} ${machine.name}`,
				onclick: async ({ currentTarget: button }) => {
					button.disabled = true;
					await orSay(() => action.run(machine));
					button.disabled = false;
				},
			},
			action.label,
		),
	);
}

async function fork(machine) {
	const { machines } = await post(machinePath(machine.id, "/fork"), { count: 1 });
	notify(`${machines[0].name} is a copy of ${machine.name}, and paused.`);
	goTo("machines", machines[0].id);
}

async function forget(machine) {
	await remove(machinePath(machine.id));
}

async function askForSnapshot(machine) {
	openDialog({
		title: `Save ${machine.name}`,
		contents: [
			h("p", { class: "soft" }, "The machine stands still while it is written, and goes on."),
			field({ name: "name", label: "Name of the snapshot", required: true, value: `${machine.name}-${Date.now() % 1000}` }),
			field({ name: "compress", type: "checkbox", label: "Compress its pages" }),
		],
		action: "Save",
		async submit(form) {
			const { name, compress } = form.elements;
			const snapshot = await post(machinePath(machine.id, "/snapshots"), { name: name.value.trim(), compress: compress.checked });
			notify(`${snapshot.name} is saved.`);
		},
	});
}
