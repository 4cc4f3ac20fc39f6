"""A run on a local cluster of dask: real cells give what they give here, and what dies costs a line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client
from processes import PATIENCE, Run, until

from companion import records, study, sweeps


class Cluster:
    """A scheduler and two workers, on loopback alone, that know the toy study."""

    def __init__(self, run: Run) -> None:
        self.run, self.file = run, run.folder / "scheduler.json"
        options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file)]
        self.scheduler = self._start("scheduler", *options)
        until(self.file.exists, "the scheduler starts")
        options = ["--scheduler-file", str(self.file), "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard"]
        self.workers = [self._start("worker", *options, "--no-nanny") for _ in range(2)]

    def _start(self, what: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_" + what, *options]
        log = (self.run.folder / "cluster.log").open("a")
        return subprocess.Popen(command, env=self.run.environment, cwd=self.run.folder, stdout=log, stderr=log)

    @property
    def address(self) -> str:
        found: str = json.loads(self.file.read_text())["address"]
        return found

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(Run(tmp_path, "slow:600:{log}"))
    yield made
    made.end()


def _start(cluster: Cluster) -> subprocess.Popen[str]:
    cluster.run.command += ["--dask", cluster.address]
    process = cluster.run.start()
    until(lambda: len(cluster.run.begun()) == 2 or process.poll() is not None, "two cells begin")
    return process


def _go(cluster: Cluster) -> None:
    (cluster.run.folder / "log.go").touch()


def test_real_cells_give_on_a_cluster_what_they_give_here(cluster: Cluster, tmp_path: Path) -> None:
    """Of every study the first cell of the quick plan that takes no training; they were computed here, too."""
    assert cluster.address.startswith("tcp://127.0.0.1:")
    cells = [next(iter(study.load(name).plan("quick"))) for name in ("biclustering", "neural_sculpting")]
    with Client(cluster.address, timeout=PATIENCE) as client, client.get_executor() as executor:
        assert sweeps.run(cells, tmp_path / "there", executor=executor, progress=False) == 2
    assert sweeps.run(cells, tmp_path / "here", progress=False) == 2
    for cell in cells:
        there, here = (records.read(cell, tmp_path / where) for where in ("there", "here"))
        names = [name for name in here.values if not name.endswith("seconds")]
        assert records.encode({n: there.values[n] for n in names}) == records.encode({n: here.values[n] for n in names})


@pytest.mark.long
def test_a_killed_worker_costs_its_cell_another_start(cluster: Cluster) -> None:
    process = _start(cluster)
    cluster.workers[0].kill()
    cluster.workers[0].wait()
    _go(cluster)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert "6 cells computed, 0 were there" in output
    assert "Traceback" not in errors
    assert len(cluster.run.begun()) in (6, 7)
    cluster.end()  # whose workers are alive, too
    assert not cluster.run.left_behind()


@pytest.mark.long
def test_a_scheduler_that_is_gone_costs_a_line(cluster: Cluster) -> None:
    process = _start(cluster)
    cluster.scheduler.kill()
    begun = time.monotonic()
    _, errors = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - begun < 60
    assert process.returncode == 1
    assert f"0 of 6 cells are recorded in {cluster.run.output}; run again to go on" in errors
    assert "the connection to the cluster was lost" in errors
    assert errors.count("\n") == 2, errors
    cluster.end()
    _go(cluster)
    assert "6 cells computed" in Run(cluster.run.folder, "slow:600:{log}").finish()


def test_a_cluster_that_is_not_there_costs_a_line(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.command += ["--dask", "tcp://127.0.0.1:9"]
    process = run.start()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert errors.count("\n") == 1, errors
    assert "tcp://127.0.0.1:9" in errors
