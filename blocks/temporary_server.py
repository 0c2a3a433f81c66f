"""Prefect's temporary server, in a process that Ctrl-C does not reach and that ends with ours.

Without PREFECT_API_URL Prefect starts a server beside our process and in the same process group. Ctrl-C in a
terminal, and `timeout`, signal the whole group: that server would be gone before the run could leave, and
Prefect asks it in vain for minutes. After a kill it would stay for ever.
"""

import importlib.util
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from signal import SIGTERM
from types import ModuleType
from typing import Any, BinaryIO

SERVER_MODULE = "prefect.server.api.server"
LOG_NAME = "temporary-server.log"
"""In Prefect's home: of the server that was started last."""

END_SECONDS = 5.0
"""How long the server may take to end by itself, as long as Prefect gives it."""


def set_temporary_server_apart() -> None:
    """Has Prefect start its temporary server as described above, from the first time on.

    The module with that server takes more than a second to import, and most commands never need it: it is
    adapted when Prefect imports it.
    """
    imported = sys.modules.get(SERVER_MODULE)
    if imported is not None:
        _adapt(imported)
    elif not any(isinstance(finder, _AdaptingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AdaptingFinder())


def _adapt(module: ModuleType) -> None:
    # Prefect offers no setting for it. The acceptance tests fail where it renames what is replaced here.
    module.SubprocessASGIServer._run_uvicorn_command = start_apart  # noqa: SLF001


class _AdaptingFinder(MetaPathFinder):
    """Finds the module as ever, and adapts it once it is loaded."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname != SERVER_MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_adapt(module: ModuleType) -> None:
                load(module)
                _adapt(module)

            spec.loader.exec_module = load_and_adapt
        return spec


def start_apart(server: Any) -> subprocess.Popen[bytes]:
    """Starts a temporary server in a session of its own, which ends when this process does.

    Args:
        server: Prefect's record of the server, whose `port` it listens on.
    """
    from prefect.settings import get_current_settings  # noqa: PLC0415  # blocks import this module first

    current = get_current_settings()
    settings = current.to_environment_variables(exclude_unset=True)
    command = [sys.executable, "-m", "uvicorn", "--factory", f"{__name__}:create_app"]
    options = {
        "app-dir": str(Path(__file__).parents[1]),
        "host": "127.0.0.1",
        "port": str(server.port),
        "log-level": "error",
        "lifespan": "on",
    }
    reading, writing = os.pipe()
    try:
        with _new_log(current.home) as log:
            process = subprocess.Popen(  # noqa: S603  # Python itself, and nothing that anybody typed
                [*command, *(word for name, value in options.items() for word in (f"--{name}", value))],
                env=os.environ | settings,
                stdin=reading,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    weakref.finalize(process, os.close, writing)  # at the latest the system closes it, however we end
    return process


def _new_log(home: Path) -> BinaryIO:
    """Where the server says what it says, which is much when it is ended while it still writes events."""
    home.mkdir(parents=True, exist_ok=True)
    log = (home / LOG_NAME).open("ab")  # appended to, as several servers may be at work
    log.truncate(0)
    return log


def create_app() -> Any:
    """Prefect's application, in the server's process: when standard input is closed, its parent is gone."""
    from prefect.server.api.server import create_app as create_prefect_app  # noqa: PLC0415  # as above

    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    return create_prefect_app(ephemeral=True, final=True)


def _end_with_parent() -> None:
    # Not sys.stdin: a thread that waits in it keeps Python from ending.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), SIGTERM)
    time.sleep(END_SECONDS)
    os._exit(1)
