"""kev: a lazy-paging hypervisor. The guest starts at once; every page is loaded when it is first touched, exactly once.

report = kev.launch("gKeOS")
print(report.output.decode(), report.first_output_ms)
"""

from kev.version import __version__

TYPE_CHECKING = False  # typing's own would take longer to import than all of this

__all__ = ["KevError", "Machine", "MachineSpec", "RunReport", "__version__", "launch", "launch_contained", "start"]

if TYPE_CHECKING:
    from kev.errors import KevError as KevError
    from kev.machine.api import launch as launch
    from kev.machine.machine import Machine as Machine
    from kev.machine.run_report import RunReport as RunReport
    from kev.machine.start import start as start
    from kev.service.workers.contained import launch_contained as launch_contained
    from kev.spec.machine_spec import MachineSpec as MachineSpec
else:
    _MODULES = {
        "KevError": "kev.errors",
        "Machine": "kev.machine.machine",
        "MachineSpec": "kev.spec.machine_spec",
        "RunReport": "kev.machine.run_report",
        "launch": "kev.machine.api",
        "launch_contained": "kev.service.workers.contained",
        "start": "kev.machine.start",
    }

    def __getattr__(name: str) -> object:
        """Imports what is asked for: `import kev` itself takes next to no time, and `kev run` needs little of it."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_MODULES[name]), name)

    def __dir__() -> list[str]:
        return __all__
