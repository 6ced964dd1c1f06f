"""The files of a stored result as zarr reads them: of one folder that is held open, regular files alone, each checked first."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore

from thetascope.errors import ResultError
from thetascope.results import metadata
from thetascope.results.status import named
from thetascope.safe_paths import HAS_FOLDER_HANDLES, checked_size, files_below, open_file, open_within

HEADER = "zarr.json"


class HeldFiles(LocalStore):
    """A result's files, to read. Use it as a context manager.

    What another process puts in the folder's place meanwhile is not read. Which points are stored is read first: what is written
    after that counts as missing, so that no point is seen half-written.

    Raises:
        ResultError: something in the folder is no regular file, or what thetascope never writes.
        OSError: it cannot be read.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, read_only=True)
        self._folder: int | None = None
        self._held: dict[str, bytes] = {}
        self._arrays: dict[str, metadata.Stored] = {}

    def __enter__(self) -> HeldFiles:
        if HAS_FOLDER_HANDLES:
            self._folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._check()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            os.close(folder)

    def _check(self) -> None:
        files = files_below(self.root, ResultError)
        attributes = metadata.group(metadata.header(self._header(HEADER)))
        names = [name for file in sorted(files) for name, _, rest in [file.partition("/")] if rest == HEADER]
        self._arrays = {name: metadata.array(metadata.header(self._header(f"{name}/{HEADER}"))) for name in names}
        metadata.check_layout(self._arrays, attributes, files)
        statuses = tuple(f"{named(prefix, 'status')}/c" for prefix in attributes["units"])
        for key in files:
            if key.startswith(statuses):
                self._held[key] = self._read(key)

    def _header(self, key: str) -> bytes:
        self._held[key] = self._read(key, metadata.LARGEST_HEADER)
        return self._held[key]

    def _read(self, key: str, most: int | None = None) -> bytes:
        path = self.root / key
        with open_file(path, self.root, ResultError) if self._folder is None else open_within(self._folder, key, path, ResultError) as file:
            size = checked_size(file, path, ResultError)
            if most is not None and size > most:
                raise ResultError(f'"{path}" is {size:,} bytes long; at most {most:,} are read of such a file')
            return file.read(size)

    def _content(self, key: str) -> bytes | None:
        """A header that was checked, or a chunk that now is; None where there is no such file."""
        name, _, rest = key.rpartition("/") if key.endswith(HEADER) else key.partition("/")
        if rest == HEADER:
            return self._held.get(key)
        try:
            content = self._held.pop(key, None) or self._read(key)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        metadata.check_chunk(content, self._arrays[name])
        return content

    async def get(self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None) -> Buffer | None:
        """The content of a file, whole."""
        content = self._content(key)
        return None if content is None else (prototype or default_buffer_prototype()).buffer.from_bytes(content)

    def get_sync(self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None) -> Buffer | None:
        """The same, for readers that wait."""
        content = self._content(key)
        return None if content is None else (prototype or default_buffer_prototype()).buffer.from_bytes(content)

    async def exists(self, key: str) -> bool:
        """Whether there is such a file."""
        return key in self._held or self._content(key) is not None

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """The names of what is stored: of the arrays, whose headers were checked."""
        for name in {HEADER: None, **self._arrays} if not prefix.strip("/") else ():
            yield name

    def with_read_only(self, read_only: bool = False) -> Any:
        """Itself: it is never written to."""
        return self
