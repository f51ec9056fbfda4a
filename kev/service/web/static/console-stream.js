// A machine's console over a WebSocket. It is taken up where it broke off: bytes have offsets.

import { machinePath } from "./api.js";
import { Backoff } from "./backoff.js";

const RUN_ENDED = 1000;
const PIECE = 4096;

export const NOT_TYPED = "The console is not connected: nothing was typed.";

// `told` has `data(bytes)`, `gap(lost bytes)`, `state("open" | "lost" | "over")` and `problem(text)`.
export class ConsoleStream {
	offset = 0;
	#path;
	#told;
	#signal;
	#socket = null;
	#typed = "";
	#backoff;

	constructor(id, told, signal) {
		this.#path = machinePath(id, "/console/stream");
		this.#told = told;
		this.#signal = signal;
		this.#backoff = new Backoff(() => this.#open(), signal);
		signal.addEventListener("abort", () => this.#socket?.close());
		this.#open();
	}

	// What is typed while a connection is made goes out with it; false if there is none.
	send(text) {
		if (this.#socket.readyState === WebSocket.CONNECTING && this.#typed.length + text.length <= PIECE) {
			this.#typed += text;
			return true;
		}
		if (this.#socket.readyState !== WebSocket.OPEN) return false;
		const bytes = new TextEncoder().encode(text);
		for (let start = 0; start < bytes.length; start += PIECE) this.#socket.send(bytes.subarray(start, start + PIECE));
		return true;
	}

	#open() {
		const socket = new WebSocket(`${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${this.#path}?offset=${this.offset}`);
		socket.binaryType = "arraybuffer";
		socket.onopen = () => {
			this.#backoff.succeeded();
			this.#told.state("open");
			this.send(this.#takeTyped());
		};
		socket.onmessage = ({ data }) => (typeof data === "string" ? this.#note(JSON.parse(data)) : this.#print(new Uint8Array(data)));
		socket.onclose = ({ code }) => this.#closed(code);
		this.#socket = socket;
	}

	#print(bytes) {
		this.offset += bytes.length;
		this.#told.data(bytes);
	}

	#note(note) {
		if (note.problem) this.#told.problem(note.problem);
		if (note.offset === undefined) return;
		this.offset = note.offset;
		if (note.lost) this.#told.gap(note.lost);
	}

	#takeTyped() {
		const typed = this.#typed;
		this.#typed = "";
		return typed;
	}

	#closed(code) {
		if (this.#signal.aborted) return;
		if (this.#takeTyped()) this.#told.problem(NOT_TYPED);
		if (code === RUN_ENDED) {
			this.#told.state("over");
			return;
		}
		this.#told.state("lost");
		this.#backoff.later();
	}
}
