// Elements, made of their attributes and of what is inside.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
	for (const [name, value] of Object.entries(attributes)) {
		if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
		else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden") element[name] = value;
		else if (value === true) element.setAttribute(name, "");
		else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
	}
	element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
	return element;
}

export function h(tag, attributes = {}, ...children) {
	return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
	return filled(document.createElementNS(SVG, tag), attributes, children);
}

// Changes the text only if it is another: nothing is selected anew or read aloud again.
export function say(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

let number = 0;
export function freshId(prefix) {
	number += 1;
	return `${prefix}-${number}`;
}

export function wantsCalm() {
	return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
