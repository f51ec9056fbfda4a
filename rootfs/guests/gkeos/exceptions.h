#pragma once

/* Installs an interrupt descriptor table whose 32 exception handlers report and end the guest with code 128 + vector. */
void exceptions_initialize(void);
