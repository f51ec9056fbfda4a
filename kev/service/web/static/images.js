// What can be launched by name.

import { get } from "./api.js";
import { h } from "./dom.js";
import { bytesOf, size } from "./format.js";

const MEMORY = 256 * 1024 ** 2;
let images = null;

export async function loadImages() {
	images ??= (await get("/v1/images")).images;
	return images;
}

export function imageNamed(name) {
	return images?.find((image) => image.name === name) ?? null;
}

export function imageList(id) {
	return h("datalist", { id }, (images ?? []).map((image) => h("option", { value: image.name }, image.description)));
}

// The last part of an image's name.
export function imageName(machine) {
	return (machine.spec.image ?? machine.spec.firmware ?? "–").split("/").at(-1);
}

// As asked for, or as the image wants it.
export function memoryText(machine) {
	const asked = machine.spec.memory;
	return size(asked ? bytesOf(asked) ?? 0 : imageNamed(machine.spec.image)?.memory ?? MEMORY);
}

export function vcpus(machine) {
	return Number(machine.spec.vcpus ?? machine.spec.smp ?? imageNamed(machine.spec.image)?.vcpus ?? 1);
}
