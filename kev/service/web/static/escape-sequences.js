// Reads what a guest prints: characters, controls and escape sequences (ECMA-48). What is not known is skipped as a whole.

import { PLAIN } from "./terminal-screen.js";

const CONTROLS = { "\n": "newLine", "\v": "newLine", "\f": "newLine", "\r": "carriageReturn", "\b": "backspace", "\t": "tab" };
const LONGEST = 256;

export class EscapeSequences {
	#screen;
	// null between sequences; else what has come of one, from ESC on.
	#sequence = null;

	constructor(screen) {
		this.#screen = screen;
	}

	feed(text) {
		for (const character of text) {
			if (this.#sequence !== null) this.#goOn(character);
			else if (character === "\x1b") this.#sequence = "\x1b";
			else if (character in CONTROLS) this.#screen[CONTROLS[character]]();
			else if (character >= " " && character !== "\x7f") this.#screen.put(character);
		}
	}

	#goOn(character) {
		if (character === "\x1b" && !this.#isString) {
			this.#sequence = "\x1b";
			return;
		}
		this.#sequence += character;
		if (this.#sequence.length > LONGEST) this.#sequence = null;
		else if (this.#isComplete(character)) {
			const sequence = this.#sequence;
			this.#sequence = null;
			this.#obey(sequence);
		}
	}

	// A title or another string, which a bell or ESC \ ends.
	get #isString() {
		return "]PX^_".includes(this.#sequence[1] ?? "none");
	}

	#isComplete(character) {
		if (this.#isString) return character === "\x07" || this.#sequence.endsWith("\x1b\\");
		if (this.#sequence[1] === "[") return this.#sequence.length > 2 && character >= "@" && character <= "~";
		return character >= "0" && character <= "~";
	}

	#obey(sequence) {
		const screen = this.#screen;
		if (sequence === "\x1b7") screen.save();
		else if (sequence === "\x1b8") screen.restore();
		else if (sequence === "\x1bM") screen.moveBy(-1, 0);
		else if (sequence === "\x1bc") {
			screen.style = PLAIN;
			screen.eraseScreen(2);
			screen.moveTo(0, 0);
		} else if (/^\x1b\[[\d;]*[A-Za-z@]$/.test(sequence)) {
			this.#control(sequence.at(-1), sequence.slice(2, -1).split(";").map((part) => (part === "" ? null : Number(part))));
		}
	}

	#control(letter, numbers) {
		const screen = this.#screen;
		const [first] = numbers;
		const times = first || 1;
		if (letter === "m") screen.style = restyled(screen.style, numbers);
		else if (letter === "A") screen.moveBy(-times, 0);
		else if (letter === "B") screen.moveBy(times, 0);
		else if (letter === "C") screen.moveBy(0, times);
		else if (letter === "D") screen.moveBy(0, -times);
		else if (letter === "G") screen.moveTo(null, times - 1);
		else if (letter === "d") screen.moveTo(times - 1, null);
		else if (letter === "H" || letter === "f") screen.moveTo(times - 1, (numbers[1] || 1) - 1);
		else if (letter === "J") screen.eraseScreen(first ?? 0);
		else if (letter === "K") screen.eraseLine(first ?? 0);
		else if (letter === "P") screen.deleteCharacters(times);
		else if (letter === "s") screen.save();
		else if (letter === "u") screen.restore();
	}
}

const ON = { 1: ["bold", true], 2: ["faint", true], 3: ["italic", true], 4: ["underlined", true], 7: ["inverse", true], 9: ["struck", true] };
const OFF = { 22: ["bold", "faint"], 23: ["italic"], 24: ["underlined"], 27: ["inverse"], 29: ["struck"], 39: ["ink"], 49: ["paper"] };

// A style behind SGR with these parameters. Its colours are numbers of the palette's 16, or texts as CSS has them.
function restyled(style, parameters) {
	let next = { ...style };
	for (let index = 0; index < parameters.length; index += 1) {
		const code = parameters[index] ?? 0;
		if (code === 0) next = {};
		else if (code in ON) next[ON[code][0]] = ON[code][1];
		else if (code in OFF) OFF[code].forEach((name) => delete next[name]);
		else if (code === 38 || code === 48) {
			const [colour, used] = extendedColour(parameters.slice(index + 1));
			if (colour !== null) next[code === 38 ? "ink" : "paper"] = colour;
			index += used;
		} else if (code >= 30 && code <= 37) next.ink = code - 30;
		else if (code >= 40 && code <= 47) next.paper = code - 40;
		else if (code >= 90 && code <= 97) next.ink = code - 82;
		else if (code >= 100 && code <= 107) next.paper = code - 92;
	}
	return Object.keys(next).length ? next : PLAIN;
}

// A colour, and how many parameters say it.
function extendedColour([kind, ...rest]) {
	if (kind === 2) return [`rgb(${rest.slice(0, 3).map((part) => Math.min(part ?? 0, 255)).join(" ")})`, 4];
	if (kind !== 5) return [null, 0];
	const index = rest[0] ?? 0;
	if (index < 16) return [index, 2];
	if (index >= 232) return [`rgb(${Array(3).fill(8 + (Math.min(index, 255) - 232) * 10).join(" ")})`, 2];
	const cube = [36, 6, 1].map((step) => Math.floor((index - 16) / step) % 6);
	return [`rgb(${cube.map((part) => part && 55 + part * 40).join(" ")})`, 2];
}
