// Follows what happens in the service, and takes up again after every interruption.

import { get } from "./api.js";
import { Backoff } from "./backoff.js";
import { store } from "./store.js";

const KINDS = {
	machine: (data) => store.machine(data),
	job: (data) => store.job({ ...store.jobs.get(data.id), ...data }),
	rates: (data) => store.rate(data),
	removed: (data) => store.removed(data.id),
};

// Tells `connection` whether it is "live" or "lost", until `signal`.
export function follow(connection, signal) {
	const backoff = new Backoff(open, signal);
	let source = null;
	signal.addEventListener("abort", () => source?.close());

	async function open() {
		try {
			const [{ machines }, { jobs }] = await Promise.all([get("/v1/machines"), get("/v1/jobs")]);
			if (signal.aborted) return;
			store.keepOnly(machines, jobs);
			listen();
		} catch {
			fail();
		}
	}

	function listen() {
		source = new EventSource("/v1/events");
		source.onopen = () => {
			backoff.succeeded();
			connection("live");
		};
		source.onerror = () => {
			source.close();
			fail();
		};
		for (const [kind, take] of Object.entries(KINDS)) {
			source.addEventListener(kind, (event) => take(JSON.parse(event.data)));
		}
	}

	function fail() {
		if (signal.aborted) return;
		connection("lost");
		backoff.later();
	}

	open();
}
