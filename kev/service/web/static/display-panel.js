// What the guest shows on its display, if it has drawn anything.

import { getBlob, machinePath } from "./api.js";
import { h, say } from "./dom.js";
import { panel } from "./panel.js";
import { poll } from "./polling.js";
import { store, watch } from "./store.js";

const RUNNING_MS = 2000;

export function displayPanel(machine, signal) {
	const picture = h("canvas", { class: "display", role: "img", "aria-label": `The display of ${machine.name}` });
	const note = h("p", { class: "soft" }, "Nothing is drawn yet.");
	const element = panel({ title: "Display", class: "screen-shot" }, picture, note);
	picture.hidden = true;

	const look = poll(async () => {
		const image = await createImageBitmap(await getBlob(machinePath(machine.id, "/screenshot"), signal));
		draw(picture, image);
		picture.hidden = isBlank(picture);
		note.hidden = !picture.hidden;
		element.classList.toggle("blank", picture.hidden);
		const isRunning = store.machines.get(machine.id)?.state === "running";
		say(note, isRunning ? "The guest has drawn nothing yet." : "The guest has drawn nothing.");
		return isRunning ? RUNNING_MS : null;
	}, signal, (error) => say(note, error.message));
	watch("machines", machine.id, look, signal);
	return element;
}

function draw(canvas, image) {
	canvas.width = image.width;
	canvas.height = image.height;
	canvas.getContext("2d", { willReadFrequently: true }).drawImage(image, 0, 0);
}

// It has one colour.
function isBlank(canvas) {
	const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
	const pixels = new Uint32Array(data.buffer);
	return pixels.every((pixel) => pixel === pixels[0]);
}
