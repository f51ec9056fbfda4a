// Which pages of a machine are there: a picture that fills while the guest boots, and what it is under the pointer.

import { get, machinePath } from "./api.js";
import { freshId, h, say } from "./dom.js";
import { address, count, plural, size } from "./format.js";
import { HeatPicture } from "./heat-picture.js";
import { legend } from "./legend.js";
import { panel } from "./panel.js";
import { poll } from "./polling.js";
import { Regions } from "./regions.js";
import { store, watch } from "./store.js";

const RUNNING_MS = 400;
const STANDING_MS = 1600;
const MOST_CELLS = 8192;
const CELL_PIXELS = 6;
const LEAST_HEIGHT = 240;
const MOST_HEIGHT = 520;

export function heatMapPanel(machine, signal) {
	const figures = h("span", { class: "soft" });
	const canvas = h("canvas", { class: "heat", tabindex: "0", role: "img" });
	const under = h("p", { class: "under", "aria-live": "polite" });
	const colours = legend();
	const picture = new HeatPicture(canvas, room, signal);
	let view = "image";
	let regions = null;

	const choice = h("fieldset", { class: "choice" }, h("legend", { class: "hidden" }, "Which memory"), option("image", "Image"), option("ram", "All of RAM"));
	const look = poll(load, signal, refused);
	watch("machines", machine.id, look, signal);
	attend(canvas, picture, describe);

	function option(value, label) {
		const id = freshId("view");
		const input = h("input", { type: "radio", name: `view-${machine.id}`, id, value, checked: value === view, onchange: () => ((view = value), look()) });
		return h("label", { for: id }, input, h("span", {}, label));
	}

	async function load() {
		const { state } = store.machines.get(machine.id) ?? { state: "lost" };
		regions ??= new Regions((await get(machinePath(machine.id, "/pages/cells?count=1"), signal)).regions);
		choice.hidden = !regions.imageRange;
		const cells = await get(machinePath(machine.id, `/pages/cells?count=${wantedCells(canvas)}${range()}`), signal);
		picture.show(cells);
		say(figures, `${plural(cells.present_pages, "page")} of ${count(cells.regions.at(-1).end / cells.page_size)}, ${size(cells.present_pages * cells.page_size)}`);
		canvas.setAttribute("aria-label", `Page heat map of ${machine.name}: ${figures.textContent} are there. Arrow keys go from cell to cell.`);
		canvas.dataset.present = cells.present_pages;
		canvas.dataset.cellPages = cells.cell_pages;
		if (state === "running") return RUNNING_MS;
		return state === "ended" || state === "lost" ? null : STANDING_MS;
	}

	function refused(error) {
		choice.hidden = canvas.hidden = colours.hidden = picture.cells === null;
		under.classList.add("soft");
		say(under, error.message);
	}

	function range() {
		const image = regions.imageRange;
		return view === "image" && image ? `&start=${image[0]}&end=${image[1]}` : "";
	}

	function describe(index) {
		const { cells } = picture;
		if (index < 0 || !cells) return say(under, "");
		const [start, end] = picture.range(index);
		const pages = (end - start) / cells.page_size;
		const region = regions.at(start, end);
		const state = cells.loading[index] ? "loading" : pages === 1 ? (cells.present[index] ? "present" : "absent") : `${count(cells.present[index])} of ${plural(pages, "page")} present`;
		return say(under, `${address(start)} – ${address(end - 1)}: ${region.name} (${region.kind}), ${state}`);
	}

	return panel({ title: "Memory", aside: figures, class: "memory" }, choice, canvas, under, colours);
}

function room() {
	return Math.min(Math.max(innerHeight * 0.5, LEAST_HEIGHT), MOST_HEIGHT);
}

function wantedCells(canvas) {
	const cells = Math.floor((canvas.clientWidth * room()) / CELL_PIXELS ** 2);
	return Math.min(Math.max(cells, 256), MOST_CELLS);
}

const STEPS = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: ({ columns }) => -columns, ArrowDown: ({ columns }) => columns };

// The cell under the pointer, or the one that arrow keys have come to.
function attend(canvas, picture, describe) {
	const point = (index) => {
		picture.cursor = index;
		picture.ask();
		describe(index);
	};
	canvas.addEventListener("pointermove", (event) => point(picture.indexAt(event.offsetX, event.offsetY)));
	canvas.addEventListener("pointerleave", () => point(-1));
	canvas.addEventListener("blur", () => point(-1));
	canvas.addEventListener("keydown", (event) => {
		if (!(event.key in STEPS) || !picture.cells) return;
		event.preventDefault();
		const next = Math.max(picture.cursor, 0) + (picture.cursor < 0 ? 0 : STEPS[event.key](picture.layout));
		point(Math.min(Math.max(next, 0), picture.cells.present.length - 1));
	});
}
