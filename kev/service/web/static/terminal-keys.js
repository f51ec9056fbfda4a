// What a key sends, as a terminal of the VT100's kind would.

const NAMED = {
	Enter: "\r",
	Backspace: "\x7f",
	Escape: "\x1b",
	Delete: "\x1b[3~",
	Insert: "\x1b[2~",
	ArrowUp: "\x1b[A",
	ArrowDown: "\x1b[B",
	ArrowRight: "\x1b[C",
	ArrowLeft: "\x1b[D",
	Home: "\x1b[H",
	End: "\x1b[F",
};

// Null if the key is not the guest's: Tab leaves the console, as everywhere on a page; Ctrl+I sends one.
export function keyText(event) {
	if (event.isComposing || event.metaKey) return null;
	if (event.key in NAMED && !event.ctrlKey) return event.shiftKey && event.key.startsWith("Arrow") ? null : NAMED[event.key];
	if ([...event.key].length !== 1) return null;
	if (event.ctrlKey && event.altKey) return event.key;
	if (event.ctrlKey) return event.shiftKey ? null : controlText(event.key);
	return event.altKey ? `\x1b${event.key}` : event.key;
}

function controlText(key) {
	if (key === "c" && !getSelection().isCollapsed) return null;
	if (key === "v") return null;
	if (key === " ") return "\0";
	return /^[a-z[\\\]^_]$/i.test(key) ? String.fromCharCode(key.toUpperCase().charCodeAt(0) & 31) : null;
}

export function pastedText(text) {
	return text.replace(/\r?\n/g, "\r");
}
