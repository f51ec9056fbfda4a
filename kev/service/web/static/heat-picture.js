// Paints cells of pages on a canvas: their kind by colour, how full they are by strength, what has just come by a flash.

import { wantsCalm } from "./dom.js";
import { Regions } from "./regions.js";

const FLASH_MS = 900;
const SMALLEST = 4;
const LARGEST = 32;

export class HeatPicture {
	cells = null;
	cursor = -1;
	#canvas;
	#room;
	#kinds = [];
	#came = [];
	#isAsked = false;
	#hasFlashed = false;

	// `room()`: how many pixels high the picture may be. It is as high as it has to be.
	constructor(canvas, room, signal) {
		this.#canvas = canvas;
		this.#room = room;
		const observer = new ResizeObserver(() => this.ask());
		observer.observe(canvas);
		signal.addEventListener("abort", () => observer.disconnect());
		matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.ask(), { signal });
	}

	// `cells`: as the service tells them.
	show(cells) {
		const before = this.cells;
		const isSame = before?.start === cells.start && before.end === cells.end && before.cell_pages === cells.cell_pages;
		if (!isSame) {
			const regions = new Regions(cells.regions);
			this.#kinds = cells.present.map((_, index) => regions.at(...this.range(index, cells)).kind);
			this.#came = new Float64Array(cells.present.length).fill(-Infinity);
			this.cursor = Math.min(this.cursor, cells.present.length - 1);
		} else {
			const now = performance.now();
			cells.present.forEach((present, index) => present > before.present[index] && (this.#came[index] = now));
		}
		this.cells = cells;
		this.ask();
	}

	ask() {
		if (this.#isAsked || !this.cells) return;
		this.#isAsked = true;
		requestAnimationFrame(() => this.#paint());
	}

	// The addresses of a cell.
	range(index, cells = this.cells) {
		const length = cells.cell_pages * cells.page_size;
		const start = cells.start + index * length;
		return [start, Math.min(start + length, cells.end)];
	}

	kind(index) {
		return this.#kinds[index];
	}

	get layout() {
		const width = this.#canvas.clientWidth;
		const count = this.cells.present.length;
		const rows = (side) => Math.ceil(count / Math.max(Math.floor(width / side), 1));
		let side = LARGEST;
		while (side > SMALLEST && rows(side) * side > this.#room()) side -= 1;
		return { side, columns: Math.max(Math.floor(width / side), 1), height: rows(side) * side };
	}

	// Of the cell at a place of the canvas; -1 if none is there.
	indexAt(x, y) {
		if (!this.cells) return -1;
		const { side, columns } = this.layout;
		const column = Math.floor(x / side);
		const index = Math.floor(y / side) * columns + column;
		return column >= 0 && column < columns && index >= 0 && index < this.cells.present.length ? index : -1;
	}

	#paint() {
		this.#isAsked = false;
		const { clientWidth: width } = this.#canvas;
		if (!width) return;
		const { height } = this.layout;
		this.#canvas.style.height = `${height}px`;
		const scale = devicePixelRatio || 1;
		this.#canvas.width = width * scale;
		this.#canvas.height = height * scale;
		const context = this.#canvas.getContext("2d");
		context.scale(scale, scale);
		const style = getComputedStyle(this.#canvas);
		const colour = (name) => style.getPropertyValue(`--${name}`).trim();
		const colours = Object.fromEntries(["code", "constants", "data", "anonymous", "loading", "absent", "ink"].map((name) => [name, colour(name)]));
		this.#paintCells(context, colours);
		if (this.#hasFlashed) this.ask();
	}

	#paintCells(context, colours) {
		const { side, columns } = this.layout;
		const gap = side > 6 ? 1.5 : side > 4 ? 1 : 0.5;
		const { present, loading, cell_pages: pages } = this.cells;
		const now = wantsCalm() ? Infinity : performance.now();
		this.#hasFlashed = false;
		const rectangle = (index, more = 0) => {
			const x = (index % columns) * side;
			const y = Math.floor(index / columns) * side;
			return [x - more, y - more, side - gap + 2 * more, side - gap + 2 * more];
		};
		present.forEach((count, index) => {
			context.globalAlpha = 1;
			context.fillStyle = colours.absent;
			context.fillRect(...rectangle(index));
			if (loading[index]) {
				context.fillStyle = colours.loading;
				context.fillRect(...rectangle(index));
			} else if (count) {
				context.globalAlpha = 0.4 + 0.6 * Math.min(count / pages, 1);
				context.fillStyle = colours[this.#kinds[index]];
				context.fillRect(...rectangle(index));
			}
			const age = now - this.#came[index];
			if (age < FLASH_MS) {
				this.#hasFlashed = true;
				context.globalAlpha = 1 - age / FLASH_MS;
				context.fillStyle = colours.ink;
				context.fillRect(...rectangle(index));
			}
		});
		context.globalAlpha = 1;
		if (this.cursor >= 0) {
			context.strokeStyle = colours.ink;
			context.lineWidth = 2;
			context.strokeRect(...rectangle(this.cursor, 1));
		}
	}
}
