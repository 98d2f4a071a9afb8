"""Folders that pictures come from and go to, on this machine or in an object store, by one set of rules.

A local folder is read and written as on one machine (`shell/streams.py`). Everything else goes through pyarrow's file
systems, or fsspec's where pyarrow knows none; a store that is out of reach is asked again for most of a minute. No
credentials pass here: the file systems find them in their environment.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from pyarrow import fs as arrow

from psic_cli import keys
from psic_cli.errors import InputError, OutputError, PsicError, UsageError
from psic_cli.shell import streams
from psic_cli.shell.terminal import name_of

_Result = TypeVar("_Result")

# Seconds between attempts, each drawn between half of this and all of it, so that workers do not come back as one.
_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0)
# A put of these appears whole; elsewhere a file is written under another name first.
_OBJECT_STORES = re.compile(r"s3|gs|gcs|abfss?|az|adl|oci|oss|r2|memory")
# What a store says that will not change its mind. Its errors are known by their words alone.
_REFUSED = re.compile(
    r"access.?denied|access.?key|signature|no.?such|credential|forbidden|unauthori|invalid.?token|expired.?token"
    r"|not.?found|storage.?full|quota|no space",
    re.IGNORECASE,
)
_PERMANENT = (PsicError, FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)
_LONGEST_REASON = 200  # characters


@dataclass(frozen=True)
class Place:
    """A folder or file: `named` makes it of what the user said, a path or a URI with options of its file system.

    given: the name for reports and messages. uri: the same, found from wherever a worker runs.
    """

    given: str
    uri: str

    @staticmethod
    def named(text: str) -> Place:
        """What the user calls so, in the current folder."""
        if "://" not in text:
            return Place(text, os.path.abspath(text))
        return Place(text.partition("?")[0], text)

    @property
    def is_local(self) -> bool:
        """Whether it is a path, or a file:// URI."""
        return "://" not in self.uri or self.uri.startswith("file://")

    @property
    def parent(self) -> Place:
        """The folder that it is in."""
        if "://" not in self.given:
            return Place(str(Path(self.given).parent), os.path.dirname(self.uri))
        path, mark, options = self.uri.partition("?")
        return Place(self.given.rpartition("/")[0], path.rpartition("/")[0] + mark + options)

    @property
    def system(self) -> arrow.FileSystem:
        """Whatever holds it. UsageError for a URI that nothing here understands."""
        return _open(self.uri)[0]

    @property
    def root(self) -> str:
        """The path on the file system."""
        return _open(self.uri)[1].rstrip("/") or "/"

    def path(self, name: str) -> str:
        """On the file system, of what has this name below the place; "" is the place itself."""
        return f"{self.root.rstrip('/')}/{name}" if name else self.root

    def file(self, name: str) -> tuple[str, str]:
        """What makes two names one file, but for links."""
        return self.system.type_name, self.path(name)

    def shown(self, name: str) -> str:
        """What reports call it."""
        if not name:
            return self.given
        return str(Path(self.given, name)) if "://" not in self.given else f"{self.given.rstrip('/')}/{name}"

    def kind(self, name: str = "") -> arrow.FileType:
        """File, Directory, or NotFound. InputError where that cannot be told."""
        return self._info(name).type

    def is_there(self, name: str) -> bool:
        """Whether something has this name."""
        return self.kind(name) is not arrow.FileType.NotFound

    def folder(self, name: str) -> Iterator[arrow.FileInfo]:
        """What is in a folder below the place, sorted by name."""
        listed = self._patiently(
            lambda: self.system.get_file_info(arrow.FileSelector(self.path(name))),
            lambda reason: InputError(f"cannot read folder {name_of(self.shown(name))}: {reason}"),
        )
        yield from sorted(listed, key=lambda info: str(info.base_name))

    def read(self, name: str) -> bytes:
        """All bytes of a file. InputError says which and why not."""
        if self.is_local:
            return streams.read_file(Path(self.path(name)))
        return self._patiently(
            lambda: self._read(name), lambda reason: InputError(f"cannot read {name_of(self.shown(name))}: {reason}")
        )

    def _read(self, name: str) -> bytes:
        with self.system.open_input_file(self.path(name)) as file:
            if file.size() > streams.MAX_INPUT_BYTES:
                raise InputError(f"{name_of(self.shown(name))} is larger than 4 GB: no picture is")
            return bytes(file.read())

    def digest(self, name: str) -> bytes | None:
        """SHA-256 of a file, None if there is none."""
        return hashlib.sha256(self.read(name)).digest() if self.is_there(name) else None

    def check(self, name: str, *, overwrite: bool) -> None:
        """Refuse early what `write` refuses: OutputError for a file that exists, a folder, a key."""
        if self.is_local:
            path = Path(self.path(name))
            if path.parent.exists():
                streams.check_destination(path, overwrite=overwrite)
            return
        found, shown = self._info(name), name_of(self.shown(name))
        if found.type is arrow.FileType.Directory:
            raise OutputError(f"{shown} is a folder", "name another folder with -o")
        if found.type is not arrow.FileType.NotFound:
            if found.size <= 2 * keys.KEY_FILE_BYTES and keys.is_key(self.read(name)):
                raise OutputError(f"{shown} is a key file, and a key file is never overwritten", "name another output")
            if not overwrite:
                raise OutputError(f"{shown} exists", "use --force to replace it, or -o to name another folder")

    def write(self, name: str, data: bytes, *, overwrite: bool, like: Path | None, token: str) -> None:
        """A file, whole or not at all. OutputError says which and why not.

        Without `overwrite` no local file is ever replaced; a store is asked just before. like, token: as in
        `streams.write_file`.
        """
        if self.is_local:
            path = Path(self.path(name))
            streams.make_folder(path.parent)
            streams.write_file(path, data, overwrite=overwrite, like=like, token=token)
            return
        self.check(name, overwrite=overwrite)
        self._patiently(
            lambda: self._put(self.path(name), data, self._unfinished(name, token)),
            lambda reason: OutputError(f"cannot write {name_of(self.shown(name))}: {reason}"),
        )

    def remove_unfinished(self, name: str, token: str, *, overwrite: bool) -> None:
        """Remove what a process that was killed in `write` has left, if anything: the arguments are those it had."""
        if self.is_local:
            streams.remove_unfinished(Path(self.path(name)), token, overwrite=overwrite)
        elif self._unfinished(name, token) != self.path(name):
            with contextlib.suppress(Exception):  # mostly it is not there
                self.system.delete_file(self._unfinished(name, token))

    def _unfinished(self, name: str, token: str) -> str:
        """The path of a file until it is finished."""
        path = self.path(name)
        if _OBJECT_STORES.fullmatch(urlsplit(self.uri).scheme):
            return path
        return f"{path.rpartition('/')[0]}/{streams.unfinished_name(token)}"

    def _put(self, path: str, data: bytes, temporary: str) -> None:
        try:
            if temporary != path:
                self.system.create_dir(path.rpartition("/")[0])
            with self.system.open_output_stream(temporary) as file:
                file.write(data)
            if self.system.get_file_info(temporary).size != len(data):
                raise OSError("it did not arrive whole")
            if temporary != path:
                self.system.move(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):  # out of reach, which is why it is broken
                found = self.system.get_file_info(temporary)
                if found.type is arrow.FileType.File and (temporary != path or found.size != len(data)):
                    self.system.delete_file(temporary)
            raise

    def _info(self, name: str) -> arrow.FileInfo:
        return self._patiently(
            lambda: self.system.get_file_info(self.path(name)),
            lambda reason: InputError(f"cannot read {name_of(self.shown(name))}: {reason}"),
        )

    def _patiently(self, action: Callable[[], _Result], failure: Callable[[str], PsicError]) -> _Result:
        """Try again, ever less often, what a network may let through later."""
        waits = iter(() if self.is_local else _WAITS_S)
        while True:
            try:
                return action()
            except PsicError:
                raise
            except Exception as error:  # file systems raise nearly anything
                wait = next(waits, None)
                if wait is None or isinstance(error, _PERMANENT) or _REFUSED.search(str(error)):
                    raise failure(_reason(error)) from error
                time.sleep(wait * random.uniform(0.5, 1.0))


@lru_cache(maxsize=64)
def _open(uri: str) -> tuple[arrow.FileSystem, str]:
    """The file system and the path on it. Kept, as an open one has connections."""
    given = uri.partition("?")[0]
    if "://" not in uri or uri.startswith("file://"):
        return arrow.LocalFileSystem(), uri.removeprefix("file://")
    if "@" in urlsplit(uri).netloc:
        message = "credentials do not belong into a URI, which reports and messages show"
        raise UsageError(message, "put them where the file system looks for them, such as AWS_ACCESS_KEY_ID")
    try:
        try:
            found = arrow.FileSystem.from_uri(_quoted(uri))
        except (ValueError, NotImplementedError):  # not one of pyarrow's
            from fsspec.core import url_to_fs

            system, path = url_to_fs(given)
            found = arrow.PyFileSystem(arrow.FSSpecHandler(system)), path
    except Exception as error:  # an unknown protocol, a missing package, an option that is none
        raise UsageError(f"{name_of(given)} cannot be opened: {_reason(error)}") from error
    return found[0], str(found[1])


def _quoted(uri: str) -> str:
    """With what pyarrow takes for a URI: names in it are written as they are, spaces and all, as fsspec wants them."""
    location, mark, options = uri.partition("?")
    scheme, _, path = location.partition("://")
    return f"{scheme}://{quote(path, safe='/:')}{mark}{options}"


def _reason(error: Any) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."
