// When to try again: soon at first, then more seldom, and at once when the network is back.

const FIRST = 400;
const MOST = 8000;

export class Backoff {
	#delay = FIRST;
	#timer = 0;
	#again;

	constructor(again, signal) {
		this.#again = again;
		addEventListener("online", () => this.#timer && this.#now(), { signal });
		signal.addEventListener("abort", () => clearTimeout(this.#timer));
	}

	succeeded() {
		this.#delay = FIRST;
	}

	later() {
		clearTimeout(this.#timer);
		this.#timer = setTimeout(() => this.#now(), this.#delay * (0.75 + Math.random() / 2));
		this.#delay = Math.min(this.#delay * 2, MOST);
	}

	#now() {
		clearTimeout(this.#timer);
		this.#timer = 0;
		this.#again();
	}
}
