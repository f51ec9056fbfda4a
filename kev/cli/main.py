"""The `kev` command: its subcommands are imported when they are called."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import click

from kev.cli.interrupts import conclude
from kev.cli.lazy_group import LazyGroup
from kev.cli.mistyped import meant, note_words
from kev.cli.standard_output import give_up_standard_output
from kev.errors import KevError, one_line
from kev.machine.ending import EXIT_CODE_MISTAKE
from kev.user_files import without_working_directory
from kev.version import __version__

_COMMANDS: Final = {
    "run": "Launch a guest kernel, loading each page when it is first touched.",
    "inspect": "Say how an image would be launched, and what would be refused.",
    "guests": "List the guests on the root file system.",
    "fs": "Make, list, read and write disk images: SIMPLEFS and JOS-FS.",
    "ept": "Build, show and check extended page tables.",
    "jos": "Run several guests of the JOS VMM under one host.",
    "race": "Find races of guests and of the pager, and replay them exactly.",
    "record": "Work with the working sets of runs.",
    "bench": "Measure how soon guests boot, and compare measurements.",
    "tour": "Learn what older hypervisors have taught, with exercises that are checked.",
    "batch": "Launch many machines, and print a line of JSON for each.",
    "report": "Make one HTML page of the reports of runs.",
    "serve": "Serve machines over HTTP.",
    "start": "Start a machine on a service.",
    "ps": "List the machines of a service.",
    "attach": "Show what a machine of a service prints, and type to it.",
    "logs": "Print what a machine of a service has printed.",
    "pause": "Let machines of a service stand still.",
    "resume": "Let machines of a service go on.",
    "stop": "End machines of a service.",
    "rm": "Make a service forget machines.",
    "snapshot": "Save a machine of a service.",
}
"""Name and summary; the command itself is `kev.cli.<name>.command`."""


_ELSEWHERE: Final = {
    "version": "kev --version",
    "list": "kev guests",
    "completion": 'eval "$(_KEV_COMPLETE=bash_source kev)"',
}
"""What is a command of other programs, and what does the same here."""
_HELP: Final = "help"
_IMAGE_COMMANDS: Final = ("kev run", "kev inspect")
_NOT_AN_IMAGE: Final = (
    "one IMAGE is launched; the kernel's command line goes behind --append, modules behind --module, disks behind --disk"
)


class _Kev(LazyGroup):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`kev help COMMAND` is `kev COMMAND --help`."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == [_HELP] else args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in _ELSEWHERE:
            ctx.fail(f"kev has no command {args[0]!r}: type {_ELSEWHERE[args[0]]}")
        if args[0] not in self.summaries and _is_image(args[0]):
            ctx.fail(f"kev has no command {args[0]!r}: type kev run {args[0]}")
        return super().resolve_command(ctx, args)

    def make_context(self, info_name: str | None, args: list[str], *arguments: Any, **settings: Any) -> click.Context:
        words = list(args)  # of which the parser leaves nothing
        with _mistakes_in_a_line():
            context = super().make_context(info_name, args, *arguments, **settings)
        note_words(context, words)
        return context

    def invoke(self, ctx: click.Context) -> Any:
        with _mistakes_in_a_line():
            return super().invoke(ctx)

    def _main_shell_completion(self, *arguments: Any, **settings: Any) -> None:
        with _mistakes_in_a_line():
            super()._main_shell_completion(*arguments, **settings)


def _is_image(name: str) -> bool:
    """Whether it is a file or a guest, which somebody wants to run."""
    from kev.guests.catalogue import guests

    return os.path.isfile(name) or any(guest.name == name for guest in guests())


@contextmanager
def _mistakes_in_a_line() -> Iterator[None]:
    """What a user has done wrong is one line on stderr, and exit code 2. So is output that cannot be written."""
    try:
        try:
            yield
        except (click.exceptions.Exit, SystemExit):
            _flush()
            raise
        else:
            _flush()
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        _end(" ".join(error.format_message().split()).removesuffix(".") + _advice(error))
    except KevError as error:
        _end(str(error))
    except OSError as error:
        if error.filename is not None:
            raise
        gone = without_working_directory(error)
        if gone is not None:
            _end(gone)
        give_up_standard_output()
        _end(f"standard output cannot be written: {error.strerror}")
    except EOFError as error:  # which click would take for Ctrl-D, and say nothing of
        raise RuntimeError("the end of a file came too early") from error
    except KeyboardInterrupt as interrupt:
        sys.exit(conclude(interrupt))


def _advice(error: click.UsageError) -> str:
    """What to type instead, where the message does not say."""
    context, message = error.ctx, error.format_message()
    if context is None:
        return ""
    if isinstance(error, click.MissingParameter):
        return f": {' '.join([context.command_path, *context.command.collect_usage_pieces(context)])}"
    if isinstance(error, click.NoSuchOption):
        return meant(error)
    if context.command_path in _IMAGE_COMMANDS and message.startswith("Got unexpected extra argument"):
        return f": {_NOT_AN_IMAGE}"
    return ""


def _flush() -> None:
    """What is left of the output would fail at the end of the process without a word."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _end(message: str) -> NoReturn:
    click.echo(f"kev: {one_line(message)}", err=True)
    sys.exit(EXIT_CODE_MISTAKE)


@click.group(cls=_Kev, package="kev.cli", summaries=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kev", message="%(prog)s %(version)s")
def kev() -> None:
    """A lazy-paging hypervisor: launches a guest kernel without loading it."""
