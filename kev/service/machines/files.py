"""Which files of the host a client may name in the description of a machine."""

import os
from collections.abc import Sequence
from typing import Final

import attrs

from kev.guests.spec_files import is_guest
from kev.service.errors import Forbidden, Invalid
from kev.spec.files import DiskFile
from kev.spec.machine_spec import MachineSpec
from kev.user_files import real_path

_READ_ONLY: Final = "a disk in a folder of images is shared: it may be ro or overlay"


@attrs.frozen
class HostFiles:
    """The folders of images, and what is done with names.

    A client that is trusted, as whoever may write to the service's socket is, may name any file. Another one may name guests, and
    files that lie in the folders: wherever links lead, and whatever `..` is in the name. What it names is only read.
    """

    folders: Sequence[str] = ()
    """Resolved: absolute and without links."""

    @classmethod
    def within(cls, folders: Sequence[str]) -> "HostFiles":
        """Invalid if one of them is no folder."""
        for folder in folders:
            if not os.path.isdir(folder):
                raise Invalid(f"--images: {folder!r} is no folder")
        return cls(tuple(map(real_path, folders)))

    def checked(self, spec: MachineSpec, *, trusted: bool) -> MachineSpec:
        """The same with the names of files found. Forbidden or Invalid, naming field and limit."""
        if spec.image and not is_guest(spec.image):
            spec = spec._replace(image=self._found("spec.image", spec.image, trusted))
        if spec.firmware is not None:
            spec = spec._replace(firmware=self._found("spec.firmware", spec.firmware, trusted))
        modules = [
            module._replace(path=self._found(f"spec.modules[{number}]", module.path, trusted))
            for number, module in enumerate(spec.modules)
        ]
        disks = [self._disk_found(f"spec.disks[{number}]", disk, trusted) for number, disk in enumerate(spec.disks)]
        return spec._replace(modules=tuple(modules), disks=tuple(disks), paging=self._paging(spec.paging, trusted))

    def _disk_found(self, where: str, disk: DiskFile, trusted: bool) -> DiskFile:
        found = disk._replace(path=self._found(where, disk.path, trusted))
        if found.writes and not trusted:
            raise Forbidden(f"{where}: {str(found)!r}: {_READ_ONLY}", field=where, value=str(found), limit=["ro", "overlay"])
        if not found.overlay:
            return found
        return found._replace(overlay=self._found(where, found.overlay, trusted, may_be_new=True))

    def _paging(self, paging: str | None, trusted: bool) -> str | None:
        kind, equals, file = (paging or "").partition("=")
        if not equals or kind == "around":
            return paging
        if kind == "record" and not trusted:
            problem = "it would write a file of the host, which is for clients of the unix socket"
            raise Forbidden(f"spec.paging: {paging!r}: {problem}", field="spec.paging", value=paging)
        return f"{kind}={self._found('spec.paging', file, trusted, may_be_new=kind == 'record')}"

    def _found(self, field: str, name: str, trusted: bool, *, may_be_new: bool = False) -> str:
        """The file that `name` stands for."""
        if "://" in name:
            if trusted:
                return name
            raise self._forbidden(field, name, "URLs are for clients of the unix socket")
        if os.path.isabs(name):
            path = real_path(name)
            if trusted or any(map(self._contains, self.folders, [path] * len(self.folders))):
                return name if trusted else path
            raise self._forbidden(field, name, "it is in no folder of images")
        for folder in self.folders:
            path = real_path(os.path.join(folder, name))
            if self._contains(folder, path) and os.path.exists(path):
                return path
        if not trusted:
            raise self._forbidden(field, name, "no folder of images has it, and no guest is called so")
        problem = "a file is named by an absolute path" + (", unless a folder of images has it" if self.folders else "")
        problem += "; a name alone is a guest's, which `kev guests` lists" if field == "spec.image" else ""
        raise Invalid(f"{field}: {name!r}: {problem}", field=field, value=name)

    @staticmethod
    def _contains(folder: str, path: str) -> bool:
        return path.startswith(folder.rstrip(os.sep) + os.sep)

    def _forbidden(self, field: str, name: str, problem: str) -> Forbidden:
        limit = [*self.folders] if self.folders else "the names of guests"
        return Forbidden(f"{field}: {name!r}: {problem}: there may be {limit}", field=field, value=name, limit=limit)
