"""The local cloud itself: a process of its own, a thread for each connection, everything it holds on the disk.

Started by the door as `python -P -m tasks.cloud.local.server HOME ID`. Ends when nobody can find it, or nobody wants it.
"""

import fcntl
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qsl

from tasks.cloud.local import body, door, ebs, ec2, faults, iam, kms, s3, signature, ssm, sts
from tasks.cloud.local.dispatch import Dispatcher, services
from tasks.cloud.local.ec2.importer import Importer
from tasks.cloud.local.machines.supervisor import Supervisor
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Store
from tasks.cloud.local.wire import write
from tasks.cloud.local.wire.request import Request
from tasks.kit import files

LOOK = 1.0  # seconds between two looks at the state file
IDLE = 12 * 3600.0  # seconds without a request after which nobody wants it any more: a working day
PATIENCE = 300.0  # seconds that a connection may say nothing
Control = Callable[[Any], object]
FORM = "application/x-www-form-urlencoded"


def main(home: Path, name: str) -> None:
    if not sole(home):
        return
    server = Server(home, name)
    server.announce()
    threading.Thread(target=watch, args=(home, server), daemon=True).start()
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


class Server(ThreadingHTTPServer):
    """Bound to a free port of the loopback address."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, home: Path, name: str) -> None:
        self.name, self.asked = name, time.monotonic()
        self.store = Store(home, s3.SCHEMA, ebs.SCHEMA)
        s3.sweep(self.store)
        ebs.sweep(self.store)
        self.dispatcher = Dispatcher(self.store, services(s3, ec2, ebs, iam, kms, ssm, sts))
        super().__init__((door.HOST, 0), Handler)
        self.machines = Supervisor(self.store)
        self.importer = Importer(self.store)

    @property
    def state(self) -> door.State:
        pid, home = os.getpid(), str(self.store.home)
        return door.State(
            pid, door.start_time(pid) or 0, self.server_port, self.name, self.store.id, home
        )

    def announce(self) -> None:
        """From now on it is found."""
        files.write_json(door.state_file(self.store.home), vars(self.state))

    def end(self) -> None:
        """Once it serves no more."""
        self.machines.end()
        self.importer.end()
        self.server_close()
        self.store.close()

    def server_bind(self) -> None:
        """Without the question to the name service that http.server asks here."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = door.HOST, self.socket.getsockname()[1]


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "doit-ami", ""
    timeout = PATIENCE
    disable_nagle_algorithm = True  # head and body of a reply are two writes

    def log_message(self, *_: object) -> None:
        """The log is for what goes wrong."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, body.Cut, faults.Dropped):
            self.close_connection = True

    def answer(self) -> None:
        self.server.asked = time.monotonic()
        path, _, query = self.path.partition("?")
        if path.startswith(door.CONTROL):
            self.say(control(self.server, path, self.rfile.read(self.length)))
            return
        try:
            carried = self.carried()
        except Refusal as refusal:
            self.close_connection = True
            self.say(write.error("s3", refusal, ""))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            self.say(self.answered(Request(self.command, path, query, headers, carried)))
        finally:
            carried.drop()

    def answered(self, request: Request) -> write.Reply:
        service = signature.service_of(request)
        try:
            if request.headers.get("content-type", "").startswith(FORM):
                form = parse_qsl(request.body.read().decode(), keep_blank_values=True)
                request = replace(request, form=dict(form))
            return self.server.dispatcher.answer(request)
        except faults.Dropped:
            raise
        except Refusal as refusal:
            return write.error(service, refusal, "")
        except Exception:  # noqa: BLE001 - a bug of ours ends one request, not the cloud; the log has it all
            traceback.print_exc()
            return write.error(service, Refusal("InternalError", "See cloud.log", 500), "")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

    @property
    def length(self) -> int:
        text = self.headers.get("Content-Length", "0")
        if not text.isdecimal():
            raise Refusal("InvalidArgument", f"Content-Length {text!r} is no number")
        return int(text)

    def carried(self) -> body.Body:
        if self.headers.get("Transfer-Encoding"):
            raise Refusal("NotImplemented", "The local cloud wants a Content-Length", 501)
        digest = self.headers.get("x-amz-content-sha256", "")
        if digest.startswith("STREAMING-") and digest != body.UNTRUSTED_TRAILER:
            raise Refusal("NotImplemented", f"The local cloud does not know {digest}", 501)
        scratch = self.server.store.new_scratch()
        return body.received(self.rfile, self.length, scratch, chunked=digest == body.UNTRUSTED_TRAILER)

    def say(self, reply: write.Reply) -> None:
        self.send_response(reply.status)
        stream = reply.stream
        size = stream.size if stream is not None else len(reply.body)
        told = {"Content-Length": str(size), **reply.headers}
        for name, value in told.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            for data in stream if stream is not None else (reply.body,):
                self.wfile.write(data)


def control(server: Server, path: str, said: bytes) -> write.Reply:
    """What is no part of AWS: whether it lives, faults to order, how slow it is to show what was done."""
    known: dict[str, Control] = {
        door.FAULTS: partial(faults.changed, server.store),
        door.SETTINGS: server.store.changed,
    }
    if path == door.HEALTH:
        return write.Reply(200, server.name.encode())
    if path not in known:
        return write.Reply(404, f"there is no {path}\n".encode())
    try:
        now = known[path](json.loads(said))
    except (ValueError, TypeError) as error:
        return write.Reply(400, f"{error}\n".encode())
    return write.Reply(200, json.dumps(now).encode())


def watch(home: Path, server: Server) -> None:
    """End when nobody can find us, or nobody wants us."""
    while door.read(home) == server.state:
        if server.machines.busy or server.importer.busy:
            server.asked = time.monotonic()
        if time.monotonic() - server.asked > IDLE:
            door.state_file(home).unlink(missing_ok=True)
        time.sleep(LOOK)
    server.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
