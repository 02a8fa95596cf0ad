"""Processes that were started together, known by the PERFT_HOME they were started with."""

import contextlib
import os
import signal
import time
from pathlib import Path


class Family:
    """The living processes of one PERFT_HOME, with what they started.

    Some of Ray's processes overwrite their environment, so whoever was seen once stays known.
    """

    def __init__(self, home: Path) -> None:
        self._mark = f"PERFT_HOME={home}".encode()
        self._seen: dict[int, str] = {}

    def look(self) -> dict[int, str]:
        """Titles of the living, by id."""
        now = _processes()
        mine = {pid for pid, since in self._seen.items() if pid in now and now[pid][1] == since}
        mine |= {pid for pid in now if pid not in mine and self._marked(pid)}
        more = mine
        while more:
            more = {pid for pid, (parent, _, _) in now.items() if parent in more} - mine
            mine |= more
        self._seen |= {pid: now[pid][1] for pid in mine}
        return {pid: now[pid][2] for pid in mine}

    def titled(self, title: str) -> list[int]:
        """Ids of the living whose title begins with `title`."""
        return sorted(pid for pid, found in self.look().items() if found.startswith(title))

    def called(self, name: str) -> list[int]:
        """Ids of the living whose title begins with `name`, or whose program is called so."""
        found = self.look().items()
        return sorted(
            pid
            for pid, title in found
            if title.startswith(name) or Path(title.partition(" ")[0]).name == name
        )

    def disappears(self) -> bool:
        """Waits until all of them have ended by themselves: Ray takes moments to go."""
        while self.look():
            time.sleep(0.1)
        return True

    def end(self) -> None:
        """Kills all of them."""
        while left := self.look():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def _marked(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return self._mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return False


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    return sum(map(int, _stat(pid)[11:13])) / os.sysconf("SC_CLK_TCK")


def _processes() -> dict[int, tuple[int, str, str]]:
    """By id: the parent's id, when it was started, its title. The dead do not count."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = _stat(int(folder.name))
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if fields[0] not in "ZX":
                found[int(folder.name)] = (int(fields[1]), fields[19], title.strip())
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
