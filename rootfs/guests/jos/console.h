/* The console: COM1 and the screen; COM1's line and the keyboard. */
#pragma once

void console_initialize(void);
void console_write(char character);
void console_print(const char *text);
/* The next character that was typed, or -1. Escape on the keyboard goes back to the host. */
int console_read(void);
