// Which part of the page is shown: the address behind #, as /machines/ID.

export function goTo(...parts) {
	location.hash = `#/${parts.map(encodeURIComponent).join("/")}`;
}

// Calls `show(name, id, signal)` now and for every other address; `signal` is over when that is no longer shown.
export function route(show, signal) {
	let shown = null;

	function change() {
		shown?.abort();
		shown = new AbortController();
		const [name = "machines", id = null] = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
		show(name, id, shown.signal);
	}

	addEventListener("hashchange", change, { signal });
	signal.addEventListener("abort", () => shown?.abort());
	change();
}
