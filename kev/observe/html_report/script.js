"use strict";

const runs = JSON.parse(document.getElementById("data").textContent);
const ACCESSES = ["execute", "read", "write", "device"];
const WIDTH = 1040;
const LEFT = 190;
const RIGHT = 70;

// Elements.

function element(name, attributes = {}, ...children) {
	const found = document.createElement(name);
	for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
	found.append(...children);
	return found;
}

function shape(parent, name, attributes, text) {
	const found = document.createElementNS("http://www.w3.org/2000/svg", name);
	for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
	if (text !== undefined) found.textContent = text;
	parent.append(found);
	return found;
}

function picture(height, description) {
	const found = document.createElementNS("http://www.w3.org/2000/svg", "svg");
	found.setAttribute("viewBox", `0 0 ${WIDTH} ${height}`);
	found.setAttribute("role", "img");
	found.setAttribute("aria-label", description);
	return found;
}

function section(title, note, ...children) {
	return element("section", {}, element("h2", {}, title), element("p", { class: "note" }, note), ...children);
}

function legend(entries) {
	const items = entries.map(([name, colour]) => element("span", {}, element("i", { style: `background:${colour}` }), name));
	return element("div", { class: "legend" }, ...items);
}

// Numbers.

function milliseconds(value) {
	const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
	return `${value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })} ms`;
}

function microseconds(value) {
	return value >= 1000 ? milliseconds(value / 1000) : `${value.toLocaleString("en", { maximumSignificantDigits: 3 })} µs`;
}

function bytes(pages) {
	const units = ["KiB", "MiB", "GiB", "TiB"];
	let value = pages * 4, unit = 0;
	for (; value >= 1024 && unit + 1 < units.length; unit++) value /= 1024;
	return `${value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 })} ${units[unit]}`;
}

function hexadecimal(value) {
	return `0x${value.toString(16)}`;
}

/** Round numbers that divide [0, end] into about `count` parts. */
function ticks(end, count) {
	const rough = end / count || 1;
	const power = 10 ** Math.floor(Math.log10(rough));
	const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
	return Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, index) => index * step);
}

// A tip that follows the pointer.

const tip = document.getElementById("tip");

function explain(target, text) {
	target.addEventListener("pointermove", (event) => {
		const words = text(event);
		tip.hidden = !words;
		if (!words) return;
		tip.textContent = words;
		const x = event.clientX + 14, y = event.clientY + 16;
		tip.style.left = `${Math.min(x, innerWidth - tip.offsetWidth - 8)}px`;
		tip.style.top = `${y + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : y}px`;
	});
	target.addEventListener("pointerleave", () => { tip.hidden = true; });
}

// Axes.

function timeAxis(svg, end, top, bottom) {
	const scale = (time) => LEFT + (time / (end || 1)) * (WIDTH - LEFT - RIGHT);
	for (const time of ticks(end, 8)) {
		shape(svg, "line", { class: "axis", x1: scale(time), x2: scale(time), y1: top, y2: bottom });
		shape(svg, "text", { class: "soft", x: scale(time), y: bottom + 16, "text-anchor": "middle" }, `${+time.toPrecision(3)}`);
	}
	shape(svg, "text", { class: "soft", x: WIDTH - RIGHT + 22, y: bottom + 16 }, "ms");
	return scale;
}

// Phases, of all runs.

function drawPhases() {
	const height = 30 * runs.length + 26;
	const svg = picture(height, "Phases of each run");
	const scale = timeAxis(svg, Math.max(...runs.map((run) => run.end)), 0, height - 22);
	const names = [];
	runs.forEach((run, row) => {
		const y = 30 * row + 4;
		shape(svg, "text", { x: LEFT - 12, y: y + 15, "text-anchor": "end" }, clipped(run.label));
		run.phases.forEach((phase, index) => {
			// One that only some runs have stands in the legend where it is drawn.
			if (!names.includes(phase.name)) names.splice(index ? names.indexOf(run.phases[index - 1].name) + 1 : 0, 0, phase.name);
			const width = Math.max(scale(phase.end) - scale(phase.begin), 0.6);
			const bar = shape(svg, "rect", { x: scale(phase.begin), y, width, height: 21, fill: phaseColour(phase.name) });
			explain(bar, () => `${run.label}: until ${phase.name}\n${milliseconds(phase.end - phase.begin)}, over at ${milliseconds(phase.end)}`);
		});
		shape(svg, "text", { x: scale(run.end) + 8, y: y + 15 }, milliseconds(run.end));
	});
	document.getElementById("phases").append(svg, legend(names.map((name) => [name, phaseColour(name)])));
}

const PHASES = ["parse", "register", "engine", "first instruction", "first output", "end", "head start", "imports"];

function phaseColour(name) {
	return `var(--phase-${Math.max(PHASES.indexOf(name), 0)})`;
}

function clipped(text) {
	return text.length > 26 ? `${text.slice(0, 25)}…` : text;
}

// Memory by first load.

const SEQUENCE = ["#5b3fb8", "#4a57c4", "#3f78bd", "#2a93b5", "#2bb39a", "#7fcb6b", "#e0d94f", "#f7b03e"];

function heat(share) {
	const place = Math.min(Math.max(share, 0), 1) * (SEQUENCE.length - 1);
	const index = Math.min(Math.floor(place), SEQUENCE.length - 2);
	const channel = (colour, offset) => parseInt(colour.slice(offset, offset + 2), 16);
	const mixed = [1, 3, 5].map((offset) => {
		const [from, to] = [channel(SEQUENCE[index], offset), channel(SEQUENCE[index + 1], offset)];
		return Math.round(from + (to - from) * (place - index));
	});
	return `rgb(${mixed.join(",")})`;
}

function drawMemory(run) {
	const times = [...new Set(run.memory.flatMap((region) => region.cells.map((cell) => cell[1])))].sort((a, b) => a - b);
	const order = new Map(times.map((time, index) => [time, index / (times.length - 1 || 1)]));
	const rows = run.memory.flatMap((region) => memoryRow(region, (time) => heat(order.get(time))));
	const scale = element("span", { class: "scale", style: `background:linear-gradient(90deg,${SEQUENCE.join(",")})` });
	const [first, last] = [times[0], times[times.length - 1]].map(milliseconds);
	const key = element("div", { class: "legend" }, element("span", {}, `first, at ${first}`, scale, `last, at ${last}`));
	key.append(element("span", {}, element("i", { style: "background:var(--empty)" }), "never loaded"));
	return section(
		"Guest memory by first touch",
		"Every square is a page, or as many as its row says. Its colour is its place in the order in which pages were loaded.",
		element("div", { class: "memory" }, ...rows), key,
	);
}

function memoryRow(region, colour) {
	const count = Math.ceil(region.pages / region.pagesPerCell);
	const name = element("div", { class: "what" }, `${region.name} `, element("span", { class: "flags" }, region.flags));
	const where = element(
		"div", { class: "where" }, `${region.loaded.toLocaleString("en")} of ${region.pages.toLocaleString("en")} pages`,
	);
	if (region.pagesPerCell > 1) where.append(element("br"), `${bytes(region.pagesPerCell)} a square`);
	const address = element("div", { class: "where" }, hexadecimal(region.start));
	const canvas = element("canvas", { role: "img", "aria-label": `${region.name}: ${region.loaded} of ${region.pages} pages loaded` });
	const cells = new Map(region.cells.map((cell) => [cell[0], cell]));
	let size = 9, columns = 1;
	const draw = () => {
		columns = Math.max(Math.floor(canvas.clientWidth / size), 1);
		const lines = Math.ceil(count / columns), ratio = devicePixelRatio;
		canvas.width = canvas.clientWidth * ratio;
		canvas.height = lines * size * ratio;
		canvas.style.height = `${lines * size}px`;
		const context = canvas.getContext("2d");
		context.scale(ratio, ratio);
		const empty = getComputedStyle(document.documentElement).getPropertyValue("--empty");
		for (let index = 0; index < count; index++) {
			const cell = cells.get(index);
			context.fillStyle = cell ? colour(cell[1]) : empty;
			context.fillRect((index % columns) * size, Math.floor(index / columns) * size, size - 1, size - 1);
		}
	};
	redrawn.push(draw);
	explain(canvas, (event) => {
		const box = canvas.getBoundingClientRect();
		const column = Math.floor((event.clientX - box.left) / size), line = Math.floor((event.clientY - box.top) / size);
		const index = line * columns + column;
		if (column >= columns || index >= count) return "";
		const address = region.start + index * region.pagesPerCell * 4096;
		const cell = cells.get(index);
		if (!cell) return `${hexadecimal(address)}: never loaded`;
		const share = region.pagesPerCell > 1 ? `, ${cell[2]} of ${region.pagesPerCell} pages` : "";
		return `${hexadecimal(address)}${share}\nfirst loaded at ${milliseconds(cell[1])}${cell[3] ? ` by ${cell[3]}` : ""}`;
	});
	return [name, address, where, canvas];
}

// Violations over time.

function drawLanes(run) {
	const curve = 90, lane = 26;
	const height = curve + run.lanes.length * lane + 34;
	const bottom = height - 22;
	const svg = picture(height, "Violations over time by segment");
	const scale = timeAxis(svg, run.end, 0, bottom);
	drawCurve(svg, run, scale, curve);
	run.lanes.forEach((entry, row) => {
		const y = curve + 14 + row * lane;
		shape(svg, "text", { x: LEFT - 12, y: y + 13, "text-anchor": "end" }, clipped(entry.name));
		shape(svg, "text", { class: "soft", x: WIDTH - RIGHT + 10, y: y + 13 }, entry.times.length.toLocaleString("en"));
		shape(svg, "line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y + 9, y2: y + 9 });
		drawWaits(svg, entry, scale, y);
		for (const access of ACCESSES) drawTicks(svg, entry, access, scale, y);
		const target = shape(svg, "rect", { x: LEFT, y: y - 4, width: WIDTH - LEFT - RIGHT, height: lane, fill: "transparent" });
		explain(target, (event) => nearest(svg, event, entry, scale));
	});
	if (run.firstOutput !== null) {
		const x = scale(run.firstOutput);
		shape(svg, "line", { x1: x, x2: x, y1: 0, y2: bottom, stroke: "var(--soft)", "stroke-dasharray": "3 3" });
		shape(svg, "text", { class: "soft", x: x + 5, y: 10 }, "first output");
	}
	const used = ACCESSES.filter((access) => run.lanes.some((entry) => entry.accesses.includes(access)));
	const entries = used.map((access) => [access, `var(--${access})`]);
	if (run.lanes.some((entry) => entry.waits.some(Boolean))) entries.push(["waiting for the page", "var(--wait)"]);
	return section(
		"Violations over time",
		"The curve counts the pages loaded. Below it, every tick is a violation, by segment and kind of access; at the right, how many.",
		svg, legend(entries),
	);
}

function drawCurve(svg, run, scale, height) {
	const { times, counts } = run.loads;
	const most = counts[counts.length - 1] || 1;
	const y = (count) => height - (count / most) * (height - 16);
	let path = `M${LEFT},${height}`;
	times.forEach((time, index) => { path += `H${scale(time).toFixed(1)}V${y(counts[index]).toFixed(1)}`; });
	path += `H${WIDTH - RIGHT}`;
	shape(svg, "path", { d: `${path}V${height}Z`, fill: "var(--accent)", opacity: 0.12 });
	shape(svg, "path", { d: path, fill: "none", stroke: "var(--accent)", "stroke-width": 1.6 });
	shape(svg, "text", { x: LEFT - 12, y: 20, "text-anchor": "end" }, `${most.toLocaleString("en")} pages`);
}

function drawTicks(svg, entry, access, scale, y) {
	let path = "";
	entry.times.forEach((time, index) => {
		if (entry.accesses[index] === access) path += `M${scale(time).toFixed(1)},${y}v18`;
	});
	if (path) shape(svg, "path", { d: path, stroke: `var(--${access})`, "stroke-width": 1.2, opacity: entry.times.length > 400 ? 0.45 : 0.85 });
}

function drawWaits(svg, entry, scale, y) {
	let path = "";
	entry.times.forEach((time, index) => {
		const wait = entry.waits[index];
		if (wait) path += `M${scale(time).toFixed(1)},${y + 9}H${Math.max(scale(time + wait), scale(time) + 0.8).toFixed(1)}`;
	});
	if (path) shape(svg, "path", { d: path, stroke: "var(--wait)", "stroke-width": 7, opacity: 0.4 });
}

function nearest(svg, event, entry, scale) {
	const box = svg.getBoundingClientRect();
	const x = ((event.clientX - box.left) / box.width) * WIDTH;
	let best = -1;
	entry.times.forEach((time, index) => {
		const distance = Math.abs(scale(time) - x);
		if (distance < 5 && (best < 0 || distance < Math.abs(scale(entry.times[best]) - x))) best = index;
	});
	if (best < 0) return "";
	const wait = entry.waits[best] ? `, waited ${milliseconds(entry.waits[best])}` : "";
	return `${entry.name}: ${entry.accesses[best]} at ${milliseconds(entry.times[best])}${wait}`;
}

// Service times.

function drawService(run) {
	const { bins, median, p99 } = run.service;
	const height = 190, bottom = 150, top = 14;
	const svg = picture(height, "Distribution of service times");
	const most = Math.max(...bins.map((bin) => bin.counts[0] + bin.counts[1]), 1);
	const low = Math.log10(bins[0].low), high = Math.log10(bins[bins.length - 1].high);
	const x = (value) => 90 + ((Math.log10(value) - low) / (high - low || 1)) * (WIDTH - 250);
	const y = (count) => bottom - (count / most) * (bottom - top);
	for (const count of ticks(most, 4).filter(Number.isInteger)) {
		shape(svg, "line", { class: "axis", x1: 90, x2: WIDTH - 160, y1: y(count), y2: y(count) });
		shape(svg, "text", { class: "soft", x: 84, y: y(count) + 4, "text-anchor": "end" }, count.toLocaleString("en"));
	}
	for (const bin of bins) {
		let base = 0;
		["var(--accent)", "var(--wait)"].forEach((fill, kind) => {
			const count = bin.counts[kind];
			const height = y(base) - y(base + count);
			if (count) shape(svg, "rect", { x: x(bin.low) + 1, y: y(base + count), width: Math.max(x(bin.high) - x(bin.low) - 2, 1), height, fill });
			base += count;
		});
		const target = shape(svg, "rect", { x: x(bin.low), y: top, width: x(bin.high) - x(bin.low), height: bottom - top, fill: "transparent" });
		explain(target, () => `${microseconds(bin.low)} to ${microseconds(bin.high)}\n${bin.counts[0]} on the spot, ${bin.counts[1]} waited`);
	}
	for (let power = Math.ceil(low); power <= high; power++) {
		shape(svg, "text", { class: "soft", x: x(10 ** power), y: bottom + 18, "text-anchor": "middle" }, microseconds(10 ** power));
	}
	[[median, "median"], [p99, "99th percentile"]].forEach(([value, name], index) => {
		shape(svg, "line", { x1: x(value), x2: x(value), y1: top - 6, y2: bottom, stroke: "var(--ink)", "stroke-dasharray": "4 3" });
		const label = `${name} ${microseconds(value)}`;
		shape(svg, "text", { x: x(value) + (index ? -2 : 2), y: bottom + 36, "text-anchor": index ? "start" : "end" }, label);
	});
	const entries = [["served on the spot", "var(--accent)"]];
	if (bins.some((bin) => bin.counts[1])) entries.push(["waited for the page", "var(--wait)"]);
	return section("Service times", "From the exit until the guest could go on; the scale is logarithmic.", svg, legend(entries));
}

// Functions.

function drawFunctions(run) {
	const most = run.functions[0].pages;
	const table = (entries) => element(
		"table", { class: "functions" },
		element("thead", {}, element("tr", {}, ...["function", "pages", "", "service"].map((name) => element("th", {}, name)))),
		element("tbody", {}, ...entries.map((entry) => element(
			"tr", {},
			element("td", {}, element("code", {}, entry.name ?? "(no symbol)")),
			element("td", {}, element("span", { class: "bar", style: `width:${(entry.pages / most) * 80}%` }), ` ${entry.pages.toLocaleString("en")}`),
			element("td", {}, `first at ${milliseconds(entry.first)}`),
			element("td", { class: "number" }, microseconds(entry.serviceUs)),
		))),
	);
	const found = section(
		"Which functions pulled pages in", "By the symbol of the instruction that met the violation, with all pages its load brought.",
		table(run.functions.slice(0, 12)),
	);
	if (run.functions.length > 12) {
		const more = `${run.functions.length - 12} more`;
		found.append(element("details", {}, element("summary", {}, more), table(run.functions.slice(12))));
	}
	return found;
}

// One run in detail.

const details = document.getElementById("details");
let redrawn = [];

function show(run) {
	redrawn = [];
	details.replaceChildren();
	if (runs.length > 1) details.append(chooser(run));
	if (!run.lanes) {
		const advice = "This report has no timeline. `kev run --report FILE --timeline` writes one that has.";
		details.append(section("Pages", advice));
		return;
	}
	if (run.memory.some((region) => region.cells.length)) details.append(drawMemory(run));
	if (run.lanes.length) details.append(drawLanes(run));
	if (run.service.bins.length) details.append(drawService(run));
	if (run.functions.length) details.append(drawFunctions(run));
	redraw();
}

function chooser(chosen) {
	const buttons = runs.map((run) => {
		const button = element("button", { type: "button", "aria-pressed": run === chosen }, run.label);
		button.addEventListener("click", () => show(run));
		return button;
	});
	return element("nav", { "aria-label": "Run shown below" }, ...buttons);
}

function redraw() {
	for (const draw of redrawn) draw();
}

drawPhases();
show(runs[0]);
addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
