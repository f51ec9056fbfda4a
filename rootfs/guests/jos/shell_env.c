/* The shell. */
#include "environment.h"
#include "request.h"
#include "user.h"

#define LINE_SIZE 256
#define STAGES 8	/* of a pipeline */
#define BACKSPACE '\b'
#define DELETE 0x7f

static char line[LINE_SIZE];

static int32_t ask(uint32_t what)
{
	shared->what = what;
	while (!system_call(CALL_SEND, FILE_SYSTEM, 0))
		system_call(CALL_YIELD, 0, 0);
	return (int32_t)system_call(CALL_RECEIVE, 0, 0);
}

static int read_character(void)
{
	int character;

	while ((character = (int)system_call(CALL_READ, 0, 0)) < 0)
		system_call(CALL_YIELD, 0, 0);
	return character == '\r' ? '\n' : character;
}

static void write_character(int character)
{
	system_call(CALL_WRITE, (uint64_t)character, 0);
}

/* Shows what is typed. */
static void read_line(void)
{
	size_t count = 0;
	int character;

	while ((character = read_character()) != '\n') {
		if (character == BACKSPACE || character == DELETE) {
			if (count) {
				count--;
				write_text("\b \b");
			}
		} else if (character >= ' ' && count < LINE_SIZE - 1) {
			line[count++] = (char)character;
			write_character(character);
		}
	}
	line[count] = 0;
	write_character('\n');
}

/* Cuts the first word off a text: returns what is behind it and the spaces there. */
static char *cut_word(char *text)
{
	while (*text && *text != ' ')
		text++;
	while (*text == ' ')
		*text++ = 0;
	return text;
}

static int has_name(const char *name, char *copied)
{
	name += *name == '/';
	if (!*name || length(name) >= NAME_SIZE) {
		write_text("a file has a name of 1 to 127 characters\n");
		return 0;
	}
	copy(copied, name, length(name) + 1);
	return 1;
}

static void complain(const char *name, int32_t error)
{
	write_text(name);
	write_text(error == NOT_FOUND ? ": there is no such file\n" : error == IS_DIRECTORY ? ": is a directory\n" : ": the disk is full\n");
}

/* Where the last stage writes to: of a file, what is not written yet is in data. */
static struct {
	enum { TO_CONSOLE, TO_FILE, TO_NOWHERE } where;
	char name[NAME_SIZE];
	uint32_t position, size;
	uint8_t data[DATA_SIZE];
} target;

static void flush_target(void)
{
	copy(shared->name, target.name, NAME_SIZE);
	copy(shared->data, target.data, target.size);
	shared->position = target.position;
	shared->size = target.size;
	int32_t result = ask(ASK_WRITE);
	if (result) {
		complain(target.name, result);
		target.where = TO_NOWHERE;
	}
	target.position += target.size;
	target.size = 0;
}

static void write_target(int character)
{
	if (target.where == TO_CONSOLE)
		write_character(character);
	if (target.where != TO_FILE)
		return;
	target.data[target.size++] = (uint8_t)character;
	if (target.size == DATA_SIZE)
		flush_target();
}

/* A command, and what it is about to write goes to the stage behind it. */
static struct stage {
	const struct command *command;
	char *arguments;
	uint32_t lines;
	int is_in_line;
} stages[STAGES], *last;

static struct command {
	const char *name;
	/* What it does by itself, and what it does with a character that the stage before it writes: NULL if nothing. */
	void (*begin)(struct stage *stage);
	void (*take)(struct stage *stage, int character);
} const commands[];

static void emit(struct stage *stage, int character)
{
	if (stage == last)
		write_target(character);
	else if (stage[1].command->take)
		stage[1].command->take(&stage[1], character);
}

static void emit_text(struct stage *stage, const char *text)
{
	while (*text)
		emit(stage, *text++);
}

static void emit_number(struct stage *stage, uint32_t value)
{
	char digits[DIGITS];

	emit_text(stage, format_number(digits, value));
}

static void list(struct stage *stage)
{
	char name[NAME_SIZE];

	for (uint32_t next = 0;; next++) {
		shared->position = next;
		if (ask(ASK_ENTRY) <= 0)
			return;
		next = shared->position;
		copy(name, shared->name, NAME_SIZE);
		uint32_t size = shared->size;
		int is_directory = shared->is_directory;
		emit_text(stage, name);
		emit_text(stage, is_directory ? "/ " : " ");
		emit_number(stage, size);
		emit(stage, '\n');
	}
}

static void show(struct stage *stage)
{
	static char name[NAME_SIZE];
	static uint8_t data[DATA_SIZE];
	uint32_t position = 0;
	int32_t count;

	if (stage > stages && !*stage->arguments)
		return;
	if (!has_name(stage->arguments, name))
		return;
	for (;;) {
		copy(shared->name, name, NAME_SIZE);
		shared->position = position;
		if ((count = ask(ASK_READ)) <= 0)
			break;
		/* Whoever takes the characters may ask the file system, too. */
		copy(data, shared->data, (size_t)count);
		for (int32_t i = 0; i < count; i++)
			emit(stage, data[i]);
		position += (uint32_t)count;
	}
	if (count < 0)
		complain(name, count);
}

static void pass(struct stage *stage, int character)
{
	if (!*stage->arguments)
		emit(stage, character);
}

static void number_lines(struct stage *stage, int character)
{
	if (!stage->is_in_line) {
		emit_number(stage, ++stage->lines);
		emit(stage, ' ');
	}
	emit(stage, character);
	stage->is_in_line = character != '\n';
}

static void echo(struct stage *stage)
{
	emit_text(stage, stage->arguments);
	emit(stage, '\n');
}

static void halt(struct stage *stage)
{
	(void)stage;
	system_call(CALL_HALT, 0, 0);
}

static struct command const commands[] = {
	{ "ls", list, NULL },
	{ "cat", show, pass },
	{ "num", NULL, number_lines },
	{ "echo", echo, NULL },
	{ "exit", halt, NULL },
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (same(name, commands[i].name))
			return &commands[i];
	return NULL;
}

/* Ends a text at the last one of a character: returns what is behind it, without spaces around; NULL if there is none. */
static char *cut_last(char *text, char at)
{
	char *found = NULL;

	for (char *next = text; *next; next++)
		if (*next == at)
			found = next;
	if (!found)
		return NULL;
	char *end = found++;
	while (end > text && end[-1] == ' ')
		end--;
	*end = 0;
	while (*found == ' ')
		found++;
	return found;
}

/* Adds a command to the pipeline, in front of the others; 0 if it cannot be one. */
static int add_stage(struct stage *stage, char *text)
{
	while (*text == ' ')
		text++;
	char *arguments = cut_word(text);
	const struct command *command = find_command(text);

	if (!command)
		return 0;
	*stage = (struct stage){ command, arguments, 0, 0 };
	return 1;
}

/* Takes a line apart from its end: stages[0] is the command that comes first. */
static int parse(char *text)
{
	struct stage *stage = stages + STAGES;
	char *next;

	do {
		next = cut_last(text, '|');
		if (stage == stages || !add_stage(--stage, next ? next : text))
			return 0;
	} while (next);
	last = stages - 1;
	while (stage < stages + STAGES)
		*++last = *stage++;
	return 1;
}

static void execute(char *text)
{
	while (*text == ' ')
		text++;
	if (!*text)
		return;
	char *pipe = text;
	for (char *next = text; *next; next++)
		if (*next == '|')
			pipe = next;
	char *name = cut_last(pipe, '>');
	if (!parse(text)) {
		write_text("there are: ls, cat FILE, num, echo TEXT, exit; COMMAND | COMMAND, COMMAND > FILE\n");
		return;
	}
	target.where = name ? TO_FILE : TO_CONSOLE;
	target.position = target.size = 0;
	if (name) {
		cut_word(name);
		if (!has_name(name, target.name))
			return;
		flush_target();
	}
	for (struct stage *stage = stages; stage <= last; stage++)
		if (stage->command->begin)
			stage->command->begin(stage);
	if (target.where == TO_FILE && target.size)
		flush_target();
}

void shell(void)
{
	/* Without yielding: a tick takes the processor away. */
	while (!*(volatile int *)&shared->is_ready)
		;
	for (;;) {
		write_text("vm$ ");
		read_line();
		execute(line);
	}
}
