"""Files behind web servers, for the file systems of fsspec that look into them, such as archives: read by `HttpReader`."""

from typing import Any, Final

from fsspec import AbstractFileSystem, register_implementation
from fsspec.spec import AbstractBufferedFile

from kev.pager.http_reader import HttpReader

_MARK: Final = "kev"
_SCHEMES: Final = ("http", "https")


def by_http_reader(url: str) -> str:
    """A chained URL, of which what is behind a web server is read by `HttpReader` instead of by fsspec, which believes servers."""
    chain, link, last = url.rpartition("::")
    if not link or not last.startswith(tuple(f"{scheme}://" for scheme in _SCHEMES)):
        return url
    for scheme in _SCHEMES:
        register_implementation(_MARK + scheme, _HttpFiles, clobber=True)
    return f"{chain}{link}{_MARK}{last}"


class _HttpFiles(AbstractFileSystem):  # type: ignore[misc]
    """Of which nothing is known but what is asked for."""

    protocol = tuple(_MARK + scheme for scheme in _SCHEMES)
    cachable = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._readers: Final[dict[str, HttpReader]] = {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix(_MARK)

    def reader(self, path: str) -> HttpReader:
        """SourceError as `HttpReader`."""
        if path not in self._readers:
            self._readers[path] = HttpReader(path)
        return self._readers[path]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        return {"name": path, "size": self.reader(path).size, "type": "file"}

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **_: Any) -> "_HttpFile":
        if mode != "rb":
            raise ValueError(f"{path}: is only read")
        return _HttpFile(self, path, mode, block_size, size=self.reader(path).size)


class _HttpFile(AbstractBufferedFile):  # type: ignore[misc]
    def _fetch_range(self, start: int, end: int) -> bytes:
        return bytes(self.fs.reader(self.path).read(start, min(end, self.size)))
