// Numbers as people read them.

const COUNT = new Intl.NumberFormat("en");
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function count(number) {
	return COUNT.format(Math.round(number));
}

export function size(bytes) {
	let unit = 0;
	let value = bytes;
	while (value >= 1024 && unit < UNITS.length - 1) {
		value /= 1024;
		unit += 1;
	}
	return `${Number(value.toFixed(value < 10 ? 1 : 0))} ${UNITS[unit]}`;
}

// Bytes of what a description says, such as 64M; a number alone is in bytes. Null if it is no size.
export function bytesOf(text) {
	const match = /^(\d+)([KMGT]?)(i?B?)$/i.exec(String(text));
	return match && Number(match[1]) * 1024 ** " KMGT".indexOf(match[2].toUpperCase() || " ");
}

export function rate(perSecond) {
	return perSecond < 10 ? String(Number(perSecond.toFixed(1))) : count(perSecond);
}

export function milliseconds(ms) {
	if (ms === null || ms === undefined) return "–";
	if (ms >= 10_000) return `${(ms / 1000).toFixed(1)} s`;
	return ms >= 100 ? `${count(ms)} ms` : `${Number(ms.toPrecision(3))} ms`;
}

export function address(gpa) {
	return `0x${gpa.toString(16)}`;
}

export function time(text) {
	return text ? new Date(text).toLocaleTimeString("en", { hour12: false }) : "–";
}

// "1 page", "2 pages".
export function plural(number, one, many = `${one}s`) {
	return `${count(number)} ${number === 1 ? one : many}`;
}
