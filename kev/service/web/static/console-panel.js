// The live console of a machine, which is typed into.

import { ConsoleStream, NOT_TYPED } from "./console-stream.js";
import { h, say } from "./dom.js";
import { EscapeSequences } from "./escape-sequences.js";
import { count } from "./format.js";
import { notify } from "./notices.js";
import { panel } from "./panel.js";
import { keyText, pastedText } from "./terminal-keys.js";
import { TerminalScreen } from "./terminal-screen.js";
import { TerminalView } from "./terminal-view.js";

const STATES = {
	open: "live",
	connecting: "connecting",
	lost: "the connection is lost: trying again",
	over: "the run has ended",
};

export function consolePanel(machine, signal) {
	const screen = new TerminalScreen();
	const sequences = new EscapeSequences(screen);
	const decoder = new TextDecoder();
	const view = new TerminalView(screen, `What ${machine.name} has printed`);
	const state = h("span", { class: "console-state", role: "status", "data-state": "connecting" }, STATES.connecting);
	const keys = h("textarea", {
		class: "keys",
		rows: 1,
		"aria-label": `Type to ${machine.name}`,
		autocapitalize: "off",
		autocomplete: "off",
		spellcheck: "false",
		onkeydown: pressed,
		oninput: composed,
		oncompositionend: composed,
		onpaste: pasted,
		onfocus: () => terminal.classList.add("focused"),
		onblur: () => terminal.classList.remove("focused"),
	});
	const terminal = h("div", { class: "terminal", onclick: focusKeys }, view.element, keys);
	view.element.addEventListener("keydown", typedAtScreen);

	const hint = h("p", { class: "hint" }, "Every key goes to the guest; Tab goes on to the next part of the page, Ctrl+I sends a tab.");
	const stream = new ConsoleStream(
		machine.id,
		{
			data: (bytes) => print(decoder.decode(bytes, { stream: true })),
			gap: (lost) => print(`\r\n\x1b[2;3m[${count(lost)} bytes before this are not kept any more]\x1b[0m\r\n`),
			state: (name) => {
				state.dataset.state = name;
				say(state, STATES[name]);
				terminal.classList.toggle("closed", name === "over");
				hint.hidden = name === "over";
			},
			problem: (text) => notify(text, "problem"),
		},
		signal,
	);

	function print(text) {
		sequences.feed(text);
		view.ask();
	}

	function type(text) {
		if (text && !stream.send(text) && state.dataset.state !== "over") notify(NOT_TYPED, "problem");
	}

	function pressed(event) {
		const text = keyText(event);
		if (text === null) return;
		event.preventDefault();
		type(text);
		view.element.scrollTop = view.element.scrollHeight;
	}

	// The screen is scrolled with keys; whoever types there means the guest.
	function typedAtScreen(event) {
		if ([...event.key].length !== 1 || event.key === " " || event.ctrlKey || event.metaKey || event.altKey) return;
		keys.focus({ preventScroll: true });
		pressed(event);
	}

	// What came without a key: from a touch keyboard, or put together of several.
	function composed(event) {
		if (event.isComposing) return;
		type(pastedText(keys.value));
		keys.value = "";
	}

	function pasted(event) {
		event.preventDefault();
		type(pastedText(event.clipboardData.getData("text")));
	}

	function focusKeys() {
		if (getSelection().isCollapsed) keys.focus({ preventScroll: true });
	}

	return panel({ title: "Console", aside: state, class: "console" }, terminal, hint);
}
