#include "command_line.h"
#include "multiboot1.h"
#include "multiboot2.h"

static const char *command_line_1(const struct multiboot1_info *info)
{
	return info->flags & MULTIBOOT1_HAS_COMMAND_LINE ? (const char *)(uintptr_t)info->command_line : "";
}

static const char *command_line_2(const struct multiboot2_info *info)
{
	const struct multiboot2_tag *tag = multiboot2_find_tag(info, MULTIBOOT2_TAG_COMMAND_LINE);

	return tag ? (const char *)(tag + 1) : "";
}

const char *boot_command_line(uint32_t magic, uint64_t information)
{
	switch (magic) {
	case MULTIBOOT1_BOOTLOADER_MAGIC:
		return command_line_1((const struct multiboot1_info *)information);
	case MULTIBOOT2_BOOTLOADER_MAGIC:
		return command_line_2((const struct multiboot2_info *)information);
	default:
		return "";
	}
}

static const char *skip_prefix(const char *text, const char *prefix)
{
	while (*prefix)
		if (*text++ != *prefix++)
			return 0;
	return text;
}

const char *find_option(const char *command_line, const char *option)
{
	for (; *command_line; command_line++) {
		const char *value = skip_prefix(command_line, option);
		if (value)
			return value;
	}
	return 0;
}

static uint32_t digit(char character)
{
	if (character >= 'a')
		return (uint32_t)(character - 'a' + 10);
	return character >= '0' && character <= '9' ? (uint32_t)(character - '0') : UINT32_MAX;
}

uint64_t parse_number(const char *text, const char **end)
{
	const char *digits = skip_prefix(text, "0x");
	uint32_t base = digits ? 16 : 10;
	uint64_t number = 0;

	for (text = digits ? digits : text; digit(*text) < base; text++)
		number = number * base + digit(*text);
	*end = text;
	return number;
}
