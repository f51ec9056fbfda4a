// The fields of a machine's description, as a form has them, and what the form says in them.

import { h } from "./dom.js";
import { field, setHint } from "./form.js";
import { size } from "./format.js";
import { imageList, imageNamed } from "./images.js";

const LATENCIES = [
	["", "as fast as the disk"],
	["200us,500MB/s", "200 µs, 500 MB/s"],
	["2ms,100MB/s", "2 ms, 100 MB/s"],
	["20ms,20MB/s", "20 ms, 20 MB/s"],
];
const LISTS = new Set(["disks", "modules"]);

function specField(name, label, more = {}) {
	return field({ name, label, path: `spec.${name}`, ...more });
}

export function imageFields() {
	return [
		imageList("images"),
		specField("image", "Image", { list: "images", required: true, placeholder: "gKeOS", hint: "A guest of kev, or a file in a folder of images.", oninput: describe }),
		h(
			"div",
			{ class: "row" },
			specField("memory", "Memory", { placeholder: "256M" }),
			specField("vcpus", "vCPUs", { type: "number", min: 1, placeholder: "1" }),
		),
	];
}

export function pagingField() {
	return specField("paging", "Paging policy", { list: "policies", placeholder: "lazy", hint: "When pages are loaded." });
}

export function policyList() {
	const policies = [
		["lazy", "when it is touched"],
		["around=16", "with 16 pages around it"],
		["around=64", "with 64 pages around it"],
		["eager", "all before the first instruction"],
	];
	return h("datalist", { id: "policies" }, policies.map(([value, text]) => h("option", { value }, text)));
}

export function latencyField() {
	return specField("source_latency", "The image's source", { options: LATENCIES });
}

export function moreFields() {
	return h(
		"details",
		{ class: "more" },
		h("summary", {}, "More of the machine"),
		h("div", { class: "row" }, latencyField(), specField("timeout", "Ends after seconds", { placeholder: "never" })),
		h("div", { class: "row" }, specField("seed", "Seed", { placeholder: "none", hint: "Makes the run repeatable." }), specField("boot", "Boot protocol", { placeholder: "as the image says" })),
		specField("disks", "Disks", { type: "textarea", hint: "One a line: FILE,virtio-pci,overlay" }),
		specField("modules", "Boot modules", { type: "textarea", hint: "One a line." }),
		specField("keyboard", "What is typed goes to the keyboard instead of COM1", { type: "checkbox" }),
		specField("timeline", "Keep a timeline of every violation and load", { type: "checkbox" }),
	);
}

function describe(event) {
	const image = imageNamed(event.target.value);
	const { form } = event.target;
	setHint(form, "image", image?.description ? `${image.description}.` : "A guest of kev, or a file in a folder of images.");
	form.elements.memory.placeholder = image?.memory ? size(image.memory).replace(/ |iB/g, "") : "256M";
	form.elements.vcpus.placeholder = String(image?.vcpus ?? 1);
}

// What was filled in of the description. An image must be.
export function specOf(form) {
	if (!form.elements.image.value.trim()) throw Object.assign(new Error("is missing: what is to be launched?"), { field: "spec.image" });
	const spec = {};
	for (const input of form.elements) {
		const path = input.dataset.path ?? "";
		if (!path.startsWith("spec.")) continue;
		const name = path.slice("spec.".length);
		const text = input.value.trim();
		if (input.type === "checkbox") input.checked && (spec[name] = true);
		else if (LISTS.has(name)) text && (spec[name] = text.split("\n").map((line) => line.trim()).filter(Boolean));
		else if (text) spec[name] = text;
	}
	return spec;
}
