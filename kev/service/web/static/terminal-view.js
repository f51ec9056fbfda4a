// Draws a terminal's screen: one element a line, and no more often than the display shows pictures.

import { h } from "./dom.js";

export class TerminalView {
	element = h("div", { class: "screen", role: "log", "aria-live": "off", tabindex: "0" });
	#screen;
	#elements = new Map();
	#isAsked = false;
	#shown = 0;

	constructor(screen, label) {
		this.#screen = screen;
		this.element.setAttribute("aria-label", label);
	}

	ask() {
		if (this.#isAsked) return;
		this.#isAsked = true;
		requestAnimationFrame(() => this.#draw());
	}

	#draw() {
		this.#isAsked = false;
		const { element } = this;
		const follows = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
		this.#drop();
		const screen = this.#screen;
		for (const line of screen.lines.slice(this.#shown - screen.dropped)) {
			const drawn = h("div");
			this.#elements.set(line, drawn);
			element.append(drawn);
			screen.changed.add(line);
		}
		this.#shown = screen.dropped + screen.lines.length;
		const current = screen.lines[screen.row];
		for (const line of screen.changed) this.#elements.get(line)?.replaceChildren(...spans(line, line === current ? screen.column : -1));
		screen.changed.clear();
		if (follows) element.scrollTop = element.scrollHeight;
	}

	// The elements of lines that the screen does not have any more.
	#drop() {
		const kept = new Set(this.#screen.lines);
		for (const [line, drawn] of this.#elements) {
			if (kept.has(line)) break;
			drawn.remove();
			this.#elements.delete(line);
		}
		this.#shown = Math.max(this.#shown, this.#screen.dropped);
	}
}

// One for each run of characters of the same style; `cursor` is a column, or -1.
function spans(line, cursor) {
	const found = [];
	const length = Math.max(line.characters.length, cursor + 1);
	let text = "";
	let style = null;
	const finish = () => text && found.push(styled(text, style));
	for (let column = 0; column < length; column += 1) {
		const here = line.styles[column] ?? {};
		if (column === cursor || here !== style) {
			finish();
			text = "";
			style = here;
		}
		text += line.characters[column] ?? " ";
		if (column === cursor) {
			found.push(h("span", { class: "cursor" }, text));
			text = "";
		}
	}
	finish();
	return found.length ? found : [document.createElement("br")];
}

function styled(text, style) {
	const words = ["bold", "faint", "italic", "underlined", "inverse", "struck"].filter((name) => style[name]);
	if (!words.length && style.ink === undefined && style.paper === undefined) return document.createTextNode(text);
	const span = h("span", {}, text);
	for (const [name, property] of [["ink", "color"], ["paper", "backgroundColor"]]) {
		if (typeof style[name] === "number") words.push(`${name}-${style[name]}`);
		else if (style[name]) span.style[property] = style[name];
	}
	span.className = words.join(" ");
	return span;
}
