// What guest memory is made of: kinds of pages, and which region an address is in.

export const KINDS = {
	code: "code",
	constants: "constants",
	data: "data",
	anonymous: "anonymous",
};

const ZEROS = /^(\.t?bss\S*|COMMON)$/;

function kindOf(region) {
	if (region.name === "RAM" || region.name.split(" ").every((name) => ZEROS.test(name))) return "anonymous";
	if (region.flags.includes("x")) return "code";
	return region.flags.includes("w") ? "data" : "constants";
}

export class Regions {
	// `described`: as the service has them, the segments of the image and then RAM.
	constructor(described) {
		this.image = described.slice(0, -1).map((region) => ({ ...region, kind: kindOf(region) }));
		this.ram = { ...described.at(-1), kind: "anonymous" };
	}

	// From the image's first page to its last; null if nothing is known of an image.
	get imageRange() {
		if (!this.image.length) return null;
		return [Math.min(...this.image.map((region) => region.start)), Math.max(...this.image.map((region) => region.end))];
	}

	// The region that has most of [start, end).
	at(start, end) {
		let best = this.ram;
		let most = 0;
		for (const region of this.image) {
			const shared = Math.min(end, region.end) - Math.max(start, region.start);
			if (shared > most) [best, most] = [region, shared];
		}
		return best;
	}
}
