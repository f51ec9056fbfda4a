// Requests to the service.

// What the service has refused, as problem details (RFC 9457).
export class Refusal extends Error {
	constructor(status, problem) {
		super(problem.detail ?? problem.title ?? `status ${status}`);
		this.status = status;
		this.field = problem.field ?? "";
		this.limit = problem.limit ?? null;
	}
}

// The service cannot be reached.
export class Unreachable extends Error {
	constructor() {
		super("the service does not answer");
	}
}

// Tells `lost` when the service no longer knows who asks.
export const session = new EventTarget();

async function request(method, path, options = {}) {
	let answer;
	try {
		answer = await fetch(path, { method, cache: "no-store", credentials: "same-origin", ...options });
	} catch (error) {
		if (error.name === "AbortError") throw error;
		throw new Unreachable();
	}
	if (answer.ok) return answer;
	const problem = await answer.json().catch(() => ({}));
	if (answer.status === 401) session.dispatchEvent(new Event("lost"));
	throw new Refusal(answer.status, problem);
}

export async function get(path, signal) {
	return (await request("GET", path, { signal })).json();
}

export async function getBlob(path, signal) {
	return (await request("GET", path, { signal })).blob();
}

export async function post(path, body) {
	const options = body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
	const answer = await request("POST", path, options);
	return answer.status === 204 ? null : answer.json();
}

export async function remove(path) {
	await request("DELETE", path);
}

export async function logIn(token) {
	await request("POST", "/v1/session", { headers: { authorization: `Bearer ${token}` } });
}

export function machinePath(id, rest = "") {
	return `/v1/machines/${encodeURIComponent(id)}${rest}`;
}
