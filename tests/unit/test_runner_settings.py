"""The settings that choose where slices are sent."""

import importlib.util
import os

import pytest

from clarion.errors import SettingError
from clarion.slices import WINDOW
from tasks import runners
from tasks.runners import chosen_runner, cluster_runner

SETTINGS = ("CLARION_RUNNER", "CLARION_WORKERS", "CLARION_CLUSTER")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def _extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "find_spec", lambda _name: object())


def test_runner_is_thread_by_default():
    """One process sends, whatever the machine has."""
    runner = chosen_runner()
    assert (runner.kind, runner.workers, runner.on_cluster) == ("thread", 1, False)
    assert runner.window == WINDOW


def test_process_runner_has_a_process_for_each_core(monkeypatch: pytest.MonkeyPatch):
    """Of the cores that this process may use; CLARION_WORKERS says otherwise."""
    monkeypatch.setenv("CLARION_RUNNER", "process")
    assert chosen_runner().workers == len(os.sched_getaffinity(0))
    monkeypatch.setenv("CLARION_WORKERS", "5")
    assert chosen_runner().workers == 5


@pytest.mark.parametrize("workers", ["0", "257", "two", "-1", "1.5", "\N{SUPERSCRIPT TWO}"])
def test_workers_that_are_no_number_are_refused(monkeypatch: pytest.MonkeyPatch, workers: str):
    """The message names the setting and what it may be."""
    monkeypatch.setenv("CLARION_WORKERS", workers)
    with pytest.raises(SettingError, match=r"CLARION_WORKERS: .* expected a whole number from 1 to 256"):
        chosen_runner()


def test_runner_that_is_none_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch):
    """All runners are named, and the one that was probably meant."""
    monkeypatch.setenv("CLARION_RUNNER", "threads")
    with pytest.raises(SettingError, match=r"thread, process, dask or ray \(did you mean 'thread'\?\)"):
        chosen_runner()


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, kind: str):
    """What to install stands in the message."""
    monkeypatch.setenv("CLARION_RUNNER", kind)
    monkeypatch.setattr(runners, "find_spec", lambda _name: None)
    with pytest.raises(SettingError, match=rf"expected pip install 'clarion\[{kind}\]'"):
        chosen_runner()


@pytest.mark.usefixtures("_extras")
@pytest.mark.parametrize(("kind", "window"), [("dask", 48), ("ray", 6)])
def test_window_of_cluster_runners_grows_with_the_processes(
    monkeypatch: pytest.MonkeyPatch, kind: str, window: int
):
    """Each process has as many slices as it has places for."""
    monkeypatch.setenv("CLARION_RUNNER", kind)
    monkeypatch.setenv("CLARION_WORKERS", "3")
    monkeypatch.setenv("CLARION_CLUSTER", "tcp://10.0.0.1:8786")
    runner = chosen_runner()
    assert runner.on_cluster
    assert runner.address == "tcp://10.0.0.1:8786"
    assert runner.window == window


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_cluster_without_a_cluster_runner_is_refused(monkeypatch: pytest.MonkeyPatch, kind: str):
    """A setting that would be ignored is a mistake."""
    monkeypatch.setenv("CLARION_RUNNER", kind)
    monkeypatch.setenv("CLARION_CLUSTER", "tcp://10.0.0.1:8786")
    with pytest.raises(SettingError, match=f"CLARION_CLUSTER: has no meaning for the runner {kind}"):
        chosen_runner()


@pytest.mark.skipif(
    importlib.util.find_spec("prefect_dask") is None, reason="the extra dask is not installed"
)
def test_dask_runner_is_made_of_the_settings(monkeypatch: pytest.MonkeyPatch):
    """A cluster of this machine with so many processes, or the one whose address is given."""
    monkeypatch.setenv("CLARION_RUNNER", "dask")
    monkeypatch.setenv("CLARION_WORKERS", "3")
    assert cluster_runner(chosen_runner()).cluster_kwargs["n_workers"] == 3  # ty: ignore[unresolved-attribute]  # Dask's
    monkeypatch.setenv("CLARION_CLUSTER", "tcp://10.0.0.1:8786")
    assert cluster_runner(chosen_runner()).address == "tcp://10.0.0.1:8786"  # ty: ignore[unresolved-attribute]  # Dask's
