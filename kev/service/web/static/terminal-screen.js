// What a terminal shows, as data: lines of characters, each with a style, and a cursor.

const MOST_LINES = 5000;
const MOST_COLUMNS = 500;
const WINDOW = 24;
const TAB = 8;

export const PLAIN = Object.freeze({});

class Line {
	characters = [];
	styles = [];
}

export class TerminalScreen {
	lines = [new Line()];
	row = 0;
	column = 0;
	style = PLAIN;
	// Lines that are gone at the top, because there are too many.
	dropped = 0;
	// Lines that look different than when they were taken from here.
	changed = new Set(this.lines);
	#saved = [0, 0];

	put(character) {
		if (this.column >= MOST_COLUMNS) this.newLine();
		const line = this.#touched();
		while (line.characters.length < this.column) {
			line.characters.push(" ");
			line.styles.push(PLAIN);
		}
		line.characters[this.column] = character;
		line.styles[this.column] = this.style;
		this.column += 1;
	}

	// A line end begins the next line: most kernels send no carriage return with it.
	newLine() {
		this.column = 0;
		this.moveBy(1, 0, true);
	}

	carriageReturn() {
		this.column = 0;
	}

	backspace() {
		this.column = Math.max(this.column - 1, 0);
	}

	tab() {
		this.column = Math.min((Math.floor(this.column / TAB) + 1) * TAB, MOST_COLUMNS - 1);
	}

	// Within the window, which is the last lines; at its end, `scrolls` makes another line.
	moveBy(rows, columns, scrolls = false) {
		this.changed.add(this.lines[this.row]);
		const last = scrolls ? this.lines.length : Math.max(this.#top + WINDOW - 1, this.lines.length - 1);
		this.row = Math.min(Math.max(this.row + rows, this.#top), last);
		this.column = Math.min(Math.max(this.column + columns, 0), MOST_COLUMNS - 1);
		this.#grow();
	}

	moveTo(row, column) {
		this.changed.add(this.lines[this.row]);
		this.row = this.#top + Math.min(Math.max(row ?? this.row - this.#top, 0), WINDOW - 1);
		this.column = Math.min(Math.max(column ?? this.column, 0), MOST_COLUMNS - 1);
		this.#grow();
	}

	save() {
		this.#saved = [this.row - this.#top, this.column];
	}

	restore() {
		this.moveTo(...this.#saved);
	}

	// 0: from the cursor on; 1: up to it; 2: all (ECMA-48, ED).
	eraseScreen(which) {
		for (let row = this.#top; row < this.lines.length; row += 1) {
			if (which === 2 || (which === 0 && row > this.row) || (which === 1 && row < this.row)) this.#clear(this.lines[row]);
		}
		if (which !== 2) this.eraseLine(which);
	}

	// The same of the cursor's line (EL).
	eraseLine(which) {
		const line = this.#touched();
		if (which === 2) this.#clear(line);
		else if (which === 0) line.characters.length = line.styles.length = Math.min(this.column, line.characters.length);
		else
			for (let column = 0; column <= this.column && column < line.characters.length; column += 1) {
				line.characters[column] = " ";
				line.styles[column] = PLAIN;
			}
	}

	deleteCharacters(count) {
		const line = this.#touched();
		line.characters.splice(this.column, count);
		line.styles.splice(this.column, count);
	}

	get #top() {
		return Math.max(this.lines.length - WINDOW, 0);
	}

	#touched() {
		const line = this.lines[this.row];
		this.changed.add(line);
		return line;
	}

	#clear(line) {
		line.characters = [];
		line.styles = [];
		this.changed.add(line);
	}

	#grow() {
		while (this.lines.length <= this.row) this.lines.push(new Line());
		const excess = this.lines.length - MOST_LINES;
		if (excess > 0) {
			for (const line of this.lines.splice(0, excess)) this.changed.delete(line);
			this.dropped += excess;
			this.row -= excess;
		}
		this.changed.add(this.lines[this.row]);
	}
}
