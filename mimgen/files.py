"""Files and folders that appear under their name whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from mimgen.errors import UserError, nearest

__all__ = ["TEMPORARY", "check_unused", "new_file", "new_folder", "path_like", "sync", "write_atomically"]

TEMPORARY = ".tmp"  # ending of what is being written; whoever lists a folder may skip or remove it


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write `content` (text as UTF-8) to `path`; a crash at any moment leaves the old file or the new one."""
    with new_file(path) as temporary:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode())


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` for a library to write to; it takes the name `path` when the block ends well.

    Raises:
        OSError: the folder of `path` does not exist or cannot be written to.
    """
    temporary = _beside(path)
    # Exclusive and with a random name: two processes that write the same file cannot meet, and nobody can have put
    # a link there beforehand. Mode 666 leaves the permissions to the umask, as for any file that a program writes.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        if path.exists():
            shutil.copymode(path, temporary)
        # without it some file systems rename first and write later: after a power cut the file would be empty
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path` to fill; it takes the name `path` when the block ends well.

    Args:
        path: of the folder to be.
        replace: whether it may take the place of a folder that is not empty.

    Raises:
        UserError: `path` is in use, or its parent cannot be written to.
    """
    if not replace:
        check_unused(path)
    temporary = _beside(path)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"cannot write to {path.parent} ({error.strerror}); choose another folder") from None
    try:
        yield temporary
        for file in (*temporary.rglob("*"), temporary):
            sync(file)
        doomed = _beside(path)
        if path.exists():
            os.replace(path, doomed)  # a folder cannot take the name of one that is not empty
        os.replace(temporary, path)
        sync(path.parent)
        shutil.rmtree(doomed, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_unused(path: Path) -> None:
    """Refuse a target that is a file, or a folder that is not empty.

    Raises:
        UserError: it is in use.
    """
    if path.exists() and (path.is_file() or any(path.iterdir())):
        raise UserError(f"{path} exists already: choose another name, or remove it")


def path_like(path: Path, words: Iterable[str] = ()) -> str:
    """ "; did you mean X?" where one of `words`, or a sibling of a path that is not there, has nearly its name."""
    siblings = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    # a higher bar than for flags: every folder holds names that are a little alike
    if word := nearest(str(path), words, cutoff=0.6):
        return f"; did you mean {word}?"
    name = nearest(path.name, siblings, cutoff=0.6)
    return f"; did you mean {path.parent / name}?" if name else ""


def sync(path: Path) -> None:
    """Have the operating system write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path) -> Path:
    """A name in the same folder, because a rename is atomic only within one file system."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{TEMPORARY}")
