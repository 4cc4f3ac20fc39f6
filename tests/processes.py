"""Runs of the toy study in processes of their own, for tests that kill them."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from toy_study import write_toy_study

PATIENCE = 120  # seconds; of a busy machine


class Run:
    """``python -m companion run toy``, in a process group of its own, with a cache of its own."""

    def __init__(self, folder: Path, scale: str = "slow:0.2:{log}", workers: int = 2, name: str = "out") -> None:
        self.folder, self.log, self.output = folder, folder / "log", folder / name
        if not (folder / "own").exists():
            write_toy_study(folder / "own")
        self.scale = scale.format(log=self.log)
        paths = os.pathsep.join(filter(None, (str(folder / "own"), os.environ.get("PYTHONPATH"))))
        self.environment = os.environ | {"PYTHONPATH": paths, "MODUTILS_CACHE": str(folder / f"cache-{name}")}
        self.command = [sys.executable, "-m", "companion", "run", "toy", "--scale", self.scale]
        self.command += ["--output", str(self.output), "--workers", str(workers)]

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        atexit.register(process.kill)  # if a test fails before it ends
        return process

    def finish(self) -> str:
        """Run to the end, and look that it is one."""
        done = subprocess.run(self.command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not self.left_behind()
        return done.stdout

    def recorded(self) -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in self.output.glob("toy/*/[!.]*.json")}

    def begun(self) -> list[str]:
        """A line for each computation that began, in order."""
        return self.log.read_text().split() if self.log.exists() else []

    def workers(self) -> list[int]:
        """Processes that computed and are alive."""
        found = [int(path.suffix[1:]) for path in self.folder.glob("log.[0-9]*")]
        return [process for process in found if is_alive(process)]

    def left_behind(self) -> list[str]:
        """Names of files that should not be there once a run is complete, and of processes."""
        files = [*self.output.rglob("*"), *Path(self.environment["MODUTILS_CACHE"]).rglob("*")]
        left = [path.name for path in files if path.suffix in (".partial", ".checkpoint") or ".json.lock" in path.name]
        return left + [f"process {process}" for process in self.workers()]


def is_alive(process: int) -> bool:
    """Whether a process runs; one that has ended and was not asked for its status does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; it fails after `PATIENCE` seconds, and says what was waited for."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
