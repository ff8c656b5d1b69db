"""The socket by which the owner of a data directory reaches the server that holds it.

It lies in the runtime directory that systemd gives to a service, else in the data directory, where
a link leads to it in any case: who knows the directory needs to know nothing else. Nobody else may
enter the two, and it has mode 0600: who can open it could as well read and write the files. No
token is asked for there.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "operator.sock"
MODE = 0o600
PATH_MAX_BYTES = 100
"""A kernel takes 108; a longer path goes by a descriptor of its folder."""


def operator_path(data_dir: Path) -> Path:
    """Return where the socket of a data directory is found, or a link to it."""
    return data_dir.absolute() / NAME


def listening_for_operator(data_dir: Path, backlog: int) -> socket.socket:
    """Return the socket of a data directory, listening.

    Raises:
        OSError: as `listening`.
    """
    path, known = place_of(data_dir), operator_path(data_dir)
    listener = listening(path, backlog)
    if path != known:
        known.unlink(missing_ok=True)
        known.symlink_to(path)
    return listener


def place_of(data_dir: Path) -> Path:
    given = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    path = Path(given) / NAME
    # One service may start several servers.
    return path if given and not is_answered(path) else operator_path(data_dir)


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield the path in a form that fits into the address of a socket."""
    if len(os.fsencode(path)) <= PATH_MAX_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listening(path: Path, backlog: int) -> socket.socket:
    """Return a socket that listens at `path`; what a killed process left there is replaced.

    Raises:
        OSError: the file system has no sockets, or the folder is not ours.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as short:
            # A file gets the mode of its socket, less the umask. That is of the whole process,
            # and other threads make folders meanwhile: it is left alone.
            os.fchmod(listener.fileno(), MODE)
            listener.bind(short)
            Path(short).chmod(MODE)  # a umask may have taken the owner's own bits
        listener.setblocking(False)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def is_answered(path: Path) -> bool:
    """Whether a server listens at `path`, and we may talk to it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            with short_path(path) as short:
                probe.connect(short)
        except OSError:
            return False
        return True
