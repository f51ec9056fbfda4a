// What the page has to say in passing.

import { h } from "./dom.js";

const SHOWN = 6000;

export function notify(text, kind = "information") {
	const notice = h("p", { class: `notice ${kind}` }, text);
	document.querySelector(".notices").append(notice);
	setTimeout(() => notice.remove(), SHOWN);
}

// What `action` cannot do is said.
export async function orSay(action) {
	try {
		return await action();
	} catch (error) {
		notify(error.message, "problem");
		return null;
	}
}
