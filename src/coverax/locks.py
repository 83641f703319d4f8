"""One writer an output: a lock that ends with its holder, and names beside an output."""

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without it: the lock file itself is the lock
    fcntl = None

# What a folder is called while a run fills it; the next run clears it as a whole.
PARTIAL, WHOLE = ".partial", ".whole"
LONGEST_NAME = 255  # bytes that a file system takes
_MOST_BYTES = 200  # of an output's name within the names beside it


def beside(path: Path, suffix: str) -> Path:
    """A hidden name next to `path`, short enough for any file system."""
    return path.with_name(f".{_shortened(path.name)}{suffix}")


def extended(path: Path, suffix: str) -> Path:
    """The name of `path` and a suffix, or one short enough for any file system."""
    if len(os.fsencode(path.name + suffix)) <= LONGEST_NAME:
        return path.with_name(path.name + suffix)
    return path.with_name(_shortened(path.name) + suffix)


def _shortened(name: str) -> str:
    if len(os.fsencode(name)) <= _MOST_BYTES:
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return os.fsencode(name)[:100].decode(errors="ignore") + digest


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Be the one process that writes `output`, until the block ends.

    The lock is `flock` on `.NAME.lock` beside the output, which the system frees when
    its holder ends, however it ends. Where a file system knows no such locks the file
    itself is the lock: it names its host and process, and one whose process is gone is
    taken over on the same host.

    Raises:
        BlockingIOError: Another run writes this output.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    path = beside(output, ".lock")
    handle = _take(path, output)
    try:
        yield
    finally:
        with suppress(OSError):  # a lock file that stays is nobody's lock
            path.unlink()
        os.close(handle)


def is_held(handle: int) -> bool:
    """Lock an open file if nobody else has; False where another process holds it.

    True where the file system knows no locks.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks on this file system
        return True
    return True


def _take(path: Path, output: Path) -> int:
    """Open the lock file and lock it; its handle."""
    while True:
        flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        if not _knows_locks(path.parent):
            return _create_alone(path, output)
        handle = os.open(path, flags, 0o666)
        if not is_held(handle):
            holder = _holder(path)
            os.close(handle)
            raise _refusal(output, holder)
        if _is_at(handle, path):  # else its holder has just taken it away
            os.ftruncate(handle, 0)
            os.write(handle, _whoami().encode())
            return handle
        os.close(handle)


def _create_alone(path: Path, output: Path) -> int:
    """The lock of a file system without locks: whoever makes the file has it."""
    while True:
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileExistsError:
            holder = _holder(path)
            if not _is_gone(holder):
                raise _refusal(output, holder, path) from None
            with suppress(FileNotFoundError):
                path.unlink()
        else:
            os.write(handle, _whoami().encode())
            return handle


def _knows_locks(folder: Path) -> bool:
    if fcntl is None:
        return False
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file still lies under its name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _whoami() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError):
        return path.read_text(encoding="utf-8")[:200].strip()
    return ""


def _is_gone(holder: str) -> bool:
    """Whether a lock names a process of this host that no longer runs."""
    words = holder.split()
    if len(words) != 4 or words[3] != socket.gethostname() or not words[1].isdigit():
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _refusal(output: Path, holder: str, path: Path | None = None) -> BlockingIOError:
    way_out = f"; if no such run is left, delete {path}" if path else ""
    return BlockingIOError(
        f"{output}: another run is writing it ({holder or 'a process unknown'})"
        + way_out
    )
