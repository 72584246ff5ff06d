"""The local cloud itself: moto's server, and RegisterImage as AWS has it, in a process of its own.

Started by the door as `python -P -m tasks.cloud.local.server HOME ID`. What it holds is in its memory (large objects in
unnamed files under HOME) and ends with it.
"""

import fcntl
import gc
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tasks.cloud.local import door
from tasks.kit import files

LOOK = 1.0  # seconds between two looks at the state file
IDLE = 12 * 3600.0  # seconds without a request after which nobody wants it any more: a working day

WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]


def main(home: Path, name: str) -> None:
    if not sole(home):
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files_at_once = max(soft, min(hard, 1 << 16))  # each large object is an open file
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_at_once, hard))
    server = serving(name)
    state = door.State(os.getpid(), door.start_time(os.getpid()) or 0, server.server_port, name)
    files.write_json(door.state_file(home), vars(state))
    threading.Thread(target=watch, args=(home, state, server), daemon=True).start()
    server.serve_forever()


def sole(home: Path) -> bool:
    """Wait to be the only server of `home`; False when another one is at work there."""
    handle = os.open(
        home / "cloud.server", os.O_CREAT | os.O_RDWR, 0o644
    )  # never closed: locked until we end
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            state = door.read(home)
            if state and door.alive(state):
                return False
            time.sleep(door.STEP)
        else:
            return True


class Watched:
    """Answers the health check, and knows when it was last asked for anything."""

    def __init__(self, app: WSGI, name: str) -> None:
        self.app, self.name, self.asked = app, name, time.monotonic()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.asked = time.monotonic()
        if environ["PATH_INFO"] == door.HEALTH:
            start_response("200 OK", [("Content-Length", str(len(self.name)))])
            return (self.name.encode(),)
        return self.app(environ, start_response)


def serving(name: str) -> Any:
    """Bound to a free port of the loopback address."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    from tasks.cloud.local import images

    class Quiet(MotoRequestHandler):
        def log_request(self, *_: Any) -> None:
            """The log is for what goes wrong."""

    images.install()
    app = Watched(DomainDispatcherApplication(create_backend_app), name)
    return make_server(door.HOST, 0, app, threaded=True, request_handler=Quiet)


def watch(home: Path, state: door.State, server: Any) -> None:
    """End when nobody can find us, or nobody wants us."""
    while door.read(home) == state:
        idle = time.monotonic() - server.app.asked
        if idle > IDLE:
            door.state_file(home).unlink(missing_ok=True)
        if idle < LOOK:
            gc.collect()  # moto's answers are cycles that hold what was sent: 350 MB after 400 MiB of uploads, 165 with this
        time.sleep(LOOK)
    server.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
