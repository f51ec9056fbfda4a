// What the service has, as far as the page knows: it tells `machines`, `jobs` and `rates` of their changes.

const KEPT = 90;

class Store extends EventTarget {
	machines = new Map();
	jobs = new Map();
	rates = new Map();

	machine(machine) {
		this.machines.set(machine.id, machine);
		this.tell("machines", machine.id);
	}

	job(job) {
		this.jobs.set(job.id, job);
		this.tell("jobs", job.id);
	}

	rate(rates) {
		const history = this.rates.get(rates.id) ?? [];
		history.push({ at: performance.now(), violations: rates.violations_per_second, exits: rates.exits_per_second, pages: rates.pages, total: rates.violations });
		if (history.length > KEPT) history.shift();
		this.rates.set(rates.id, history);
		this.tell("rates", rates.id);
	}

	removed(id) {
		this.rates.delete(id);
		if (this.machines.delete(id)) this.tell("machines", id);
		if (this.jobs.delete(id)) this.tell("jobs", id);
	}

	// Nothing else is there: what was removed while nobody listened is forgotten.
	keepOnly(machines, jobs) {
		const there = new Set([...machines, ...jobs].map((found) => found.id));
		for (const id of [...this.machines.keys(), ...this.jobs.keys()]) if (!there.has(id)) this.removed(id);
		machines.forEach((machine) => this.machine(machine));
		jobs.forEach((job) => this.job(job));
	}

	lastRate(id) {
		const isRunning = this.machines.get(id)?.state === "running";
		return isRunning ? this.rates.get(id)?.at(-1) ?? null : null;
	}

	tell(kind, id) {
		this.dispatchEvent(new CustomEvent(kind, { detail: id }));
	}
}

export const store = new Store();

// Calls `changed` for changes of one thing, until `signal`.
export function watch(kind, id, changed, signal) {
	store.addEventListener(kind, (event) => event.detail === id && changed(), { signal });
}
