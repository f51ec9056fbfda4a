/* The shell. */
#include "environment.h"
#include "request.h"
#include "user.h"

#define LINE_SIZE 256
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

static int has_name(const char *name)
{
	name += *name == '/';
	if (!*name || length(name) >= NAME_SIZE) {
		write_text("a file has a name of 1 to 127 characters\n");
		return 0;
	}
	copy(shared->name, name, length(name) + 1);
	return 1;
}

static void complain(int32_t error)
{
	write_text(shared->name);
	write_text(error == NOT_FOUND ? ": there is no such file\n" : error == IS_DIRECTORY ? ": is a directory\n" : ": the disk is full\n");
}

static void list(void)
{
	for (shared->position = 0; ask(ASK_ENTRY) > 0; shared->position++) {
		write_text(shared->name);
		write_text(shared->is_directory ? "/ " : " ");
		write_number(shared->size);
		write_character('\n');
	}
}

static void show(const char *name)
{
	int32_t count;

	if (!has_name(name))
		return;
	for (shared->position = 0; (count = ask(ASK_READ)) > 0; shared->position += (uint32_t)count)
		for (int32_t i = 0; i < count; i++)
			write_character(shared->data[i]);
	if (count < 0)
		complain(count);
}

/* Where `text` goes to a file: the name behind the last '>', which ends the text. */
static char *cut_target(char *text)
{
	char *target = NULL;

	for (char *next = text; *next; next++)
		if (*next == '>')
			target = next;
	if (!target)
		return NULL;
	char *end = target;
	while (end > text && end[-1] == ' ')
		end--;
	*target++ = 0;
	*end = 0;
	while (*target == ' ')
		target++;
	cut_word(target);
	return target;
}

static void echo(char *text)
{
	char *target = cut_target(text);

	if (!target) {
		write_text(text);
		write_character('\n');
		return;
	}
	if (!has_name(target))
		return;
	shared->size = (uint32_t)length(text) + 1;
	copy(shared->data, text, length(text));
	shared->data[length(text)] = '\n';
	int32_t result = ask(ASK_WRITE);
	if (result)
		complain(result);
}

static void execute(char *command)
{
	while (*command == ' ')
		command++;
	char *rest = cut_word(command);

	if (same(command, "ls"))
		list();
	else if (same(command, "cat"))
		show(rest);
	else if (same(command, "echo"))
		echo(rest);
	else if (same(command, "exit"))
		system_call(CALL_HALT, 0, 0);
	else if (*command)
		write_text("there are: ls, cat FILE, echo TEXT, echo TEXT > FILE, exit\n");
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
