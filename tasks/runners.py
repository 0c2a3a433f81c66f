"""Where slices are sent, by setting: in this process, in processes beside it, or on a Dask or Ray cluster."""

import logging
import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, get_args

from prefect.task_runners import TaskRunner

from clarion.errors import SettingError, nearest
from clarion.slices import WINDOW

RUNNER_SETTING = "CLARION_RUNNER"
WORKERS_SETTING = "CLARION_WORKERS"
CLUSTER_SETTING = "CLARION_CLUSTER"

Kind = Literal["thread", "process", "dask", "ray"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MOST_WORKERS = 256

CLUSTER_THREADS = 16
"""Slices at once in a Dask worker: one that waits for Prefect's retry holds its thread."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """What the settings choose.

    Args:
        kind: `thread`, `process`, `dask` or `ray`.
        workers: Processes that send; of a `thread` runner always 1.
        address: Of a cluster that is there already; None starts one on this machine.
    """

    kind: Kind
    workers: int
    address: str | None

    @property
    def on_cluster(self) -> bool:
        """Whether Prefect's task runs are in other processes than the flow."""
        return self.kind in {"dask", "ray"}

    @property
    def window(self) -> int:
        """Slices handed out at once."""
        return {"dask": self.workers * CLUSTER_THREADS, "ray": 2 * self.workers}.get(self.kind, WINDOW)


def chosen_runner() -> Runner:
    """CLARION_RUNNER, CLARION_WORKERS and CLARION_CLUSTER; else one process with threads.

    Raises:
        SettingError: A setting is not valid, or its extra is not installed.
    """
    kind = _kind()
    address = os.environ.get(CLUSTER_SETTING) or None
    if address and kind not in {"dask", "ray"}:
        raise SettingError(
            f"has no meaning for the runner {kind}", where=CLUSTER_SETTING, expected=f"{RUNNER_SETTING}=dask"
        )
    workers = _workers()
    return Runner(kind=kind, workers=1 if kind == "thread" else workers, address=address)


def _kind() -> Kind:
    given = os.environ.get(RUNNER_SETTING) or "thread"
    if given not in KINDS:
        raise SettingError(
            f"{given!r} is no runner",
            where=RUNNER_SETTING,
            expected=f"{', '.join(KINDS[:-1])} or {KINDS[-1]}",
            nearest=nearest(given, KINDS),
        )
    if given in {"dask", "ray"} and find_spec(f"prefect_{given}") is None:
        raise SettingError(
            f"names {given}, which is not installed",
            where=RUNNER_SETTING,
            expected=f"pip install 'clarion[{given}]'",
        )
    return given


def _workers() -> int:
    given = os.environ.get(WORKERS_SETTING) or str(_cores())
    if given.isdecimal() and 1 <= int(given) <= MOST_WORKERS:
        return int(given)
    raise SettingError(
        f"{given!r} is not valid", where=WORKERS_SETTING, expected=f"a whole number from 1 to {MOST_WORKERS}"
    )


def _cores() -> int:
    """The cores that this process may use; a container may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cluster_runner(runner: Runner) -> TaskRunner[Any]:
    """Prefect's task runner for a Dask or Ray cluster, not yet started."""
    return _dask_runner(runner) if runner.kind == "dask" else _ray_runner(runner)


def _dask_runner(runner: Runner) -> TaskRunner[Any]:
    from prefect_dask import DaskTaskRunner  # noqa: PLC0415  # an extra

    if runner.address:
        return DaskTaskRunner(address=runner.address)
    return DaskTaskRunner(
        cluster_kwargs={
            "n_workers": runner.workers,
            "threads_per_worker": CLUSTER_THREADS,
            "processes": True,
            "dashboard_address": "127.0.0.1:0",  # else it is a port that others may have, or see
            "memory_limit": None,  # else Dask kills a worker that is over its share, its calls on their way
            "silence_logs": logging.ERROR,
        }
    )


def _ray_runner(runner: Runner) -> TaskRunner[Any]:
    from prefect_ray import RayTaskRunner  # noqa: PLC0415  # ty: ignore[import-not-found]  # an extra

    if runner.address:
        return RayTaskRunner(address=runner.address)
    return RayTaskRunner(init_kwargs={"num_cpus": runner.workers, "include_dashboard": False})
