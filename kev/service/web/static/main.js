// The page: who asks is asked first, then its parts are shown by the address.

import { Refusal, get, session } from "./api.js";
import { h, say } from "./dom.js";
import { follow } from "./events.js";
import { jobsView } from "./jobs-view.js";
import { askForToken } from "./login.js";
import { machineView } from "./machine-view.js";
import { machinesView } from "./machines-view.js";
import { policiesView } from "./policies-view.js";
import { route } from "./router.js";
import { snapshotsView } from "./snapshots-view.js";

const PARTS = {
	machines: ["Machines", (place, id, signal) => (id ? machineView : machinesView)(place, id, signal)],
	policies: ["Policies", policiesView],
	jobs: ["Jobs", jobsView],
	snapshots: ["Snapshots", snapshotsView],
};
const CONNECTIONS = { live: "live", lost: "connection lost", connecting: "connecting" };

const main = document.querySelector("main");
const nav = document.querySelector("nav");
const link = document.querySelector(".link-state");

async function isKnown() {
	try {
		await get("/v1");
		return true;
	} catch (error) {
		return !(error instanceof Refusal && error.status === 401);
	}
}

function show(name, id, signal) {
	const [title, view] = PARTS[name] ?? PARTS.machines;
	for (const item of nav.children) {
		if (item.dataset.part === name) item.setAttribute("aria-current", "page");
		else item.removeAttribute("aria-current");
	}
	document.title = `${title} – kev`;
	main.dataset.part = name;
	const place = h("div", { class: `view ${name}` });
	const isFirst = !main.querySelector(".view");
	main.replaceChildren(place);
	scrollTo(0, 0);
	if (!isFirst) main.focus({ preventScroll: true });
	view(place, id, signal);
}

function tell(connection) {
	link.dataset.connection = connection;
	say(link, CONNECTIONS[connection]);
}

async function run() {
	nav.replaceChildren();
	link.hidden = true;
	if (!(await isKnown())) await askForToken(main);
	const shown = new AbortController();
	session.addEventListener("lost", () => shown.abort(), { signal: shown.signal });
	nav.replaceChildren(...Object.entries(PARTS).map(([name, [title]]) => h("a", { href: `#/${name}`, "data-part": name }, title)));
	link.hidden = false;
	tell("connecting");
	follow(tell, shown.signal);
	route(show, shown.signal);
	await new Promise((resolve) => shown.signal.addEventListener("abort", resolve));
}

document.querySelector(".skip").addEventListener("click", (event) => {
	event.preventDefault();
	main.focus();
});
for (;;) await run();
