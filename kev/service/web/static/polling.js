// Does something again and again, one at a time, as long as somebody looks.

const ON_ERROR_MS = 2000;

// `look` returns after how many milliseconds it is to be called again; null if never. What it throws is no end, unless the service
// refuses it: `refused` is told the error. The function that is returned has it called at once.
export function poll(look, signal, refused = () => {}) {
	let timer = 0;
	let isBusy = false;
	let isAsked = false;

	async function once() {
		clearTimeout(timer);
		isAsked = true;
		if (isBusy) return;
		isBusy = true;
		let next = null;
		while (isAsked && !signal.aborted && !document.hidden) {
			isAsked = false;
			next = await answer();
		}
		isBusy = false;
		if (next !== null && !signal.aborted) timer = setTimeout(once, next);
	}

	async function answer() {
		try {
			return await look();
		} catch (error) {
			if (!(error.status >= 400 && error.status < 500)) return ON_ERROR_MS;
			refused(error);
			return null;
		}
	}

	signal.addEventListener("abort", () => clearTimeout(timer));
	document.addEventListener("visibilitychange", once, { signal });
	once();
	return once;
}
