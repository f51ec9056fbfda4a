// The texts of the page that are hard to read: contrast below 4.5 to 1, or 3 to 1 where they are large (WCAG 2.2, 1.4.3).
() => {
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const channels = (colour) => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = colour;
		canvas.fillRect(0, 0, 1, 1);
		const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
		return [red, green, blue, alpha / 255];
	};
	const over = ([red, green, blue, alpha], below) => [red, green, blue].map((part, index) => part * alpha + below[index] * (1 - alpha));
	const luminance = (colour) => {
		const [red, green, blue] = colour.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
		return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
	};
	const ground = (element) => {
		if (!element) return [255, 255, 255];
		const own = channels(getComputedStyle(element).backgroundColor);
		return own[3] === 1 ? own.slice(0, 3) : over(own, ground(element.parentElement));
	};
	const found = [];
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (texts.nextNode()) {
		const element = texts.currentNode.parentElement;
		if (!texts.currentNode.data.trim() || !element.checkVisibility({ opacityProperty: true }) || element.closest("option, .hidden, :disabled")) continue;
		const style = getComputedStyle(element);
		const below = ground(element);
		const [one, other] = [luminance(over(channels(style.color), below)), luminance(below)];
		const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
		const size = parseFloat(style.fontSize);
		const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
		if (ratio < (isLarge ? 3 : 4.5)) found.push(`${texts.currentNode.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
	}
	return found;
}
