"""As much of a W&B server on 127.0.0.1 as its library needs, and servers that are of no use.

A run's history is a list of lines that the library writes from an offset on, as it does on the real
one: what is told again takes the place of what was there.
"""

import gzip
import json
import re
import socket
import threading
from collections import defaultdict
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

KEY = "a" * 40


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_) -> None:  # the library closes connections as it likes
        pass


class Server:
    """Takes runs. A context manager.

    runs     id -> {"group", "tags", "config", ..., "summary", "history": its lines, "exitcode"}
    starts   how often each run was begun
    status   of its answers from now on
    """

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = defaultdict(lambda: {"history": [], "summary": {}})
        self.starts: dict[str, int] = defaultdict(int)
        self.status = 200  # of its answers
        self.lock = threading.Lock()
        self.http = Quiet(("127.0.0.1", 0), type("Handler", (Handler,), {"of": self}))

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.http.server_port)

    def __enter__(self) -> Self:
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.http.shutdown()
        self.http.server_close()

    def answer(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        if "upsertBucket" in query:
            run = self.runs[given["name"]]
            if given.get("displayName"):
                self.starts[given["name"]] += 1
                run |= {key: given[key] for key in ("displayName", "groupName", "jobType", "tags")}
            if given.get("config"):
                config = json.loads(given["config"])
                run["config"] = {k: v["value"] for k, v in config.items() if k != "_wandb"}
                run["metrics"] = config["_wandb"]["value"].get("m", [])
            project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": "me"}}
            bucket = {"id": "b", "name": given["name"], "project": project, "historyLineCount": 0}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "createRunFiles" in query:
            url = f"http://127.0.0.1:{self.http.server_port}/upload"
            files = [{"name": name, "uploadUrl": f"{url}/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        if "createArtifact(" in query:
            sequence = {"latestArtifact": None}
            artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}
            return {"createArtifact": {"artifact": artifact}}
        if "query ArtifactType" in query:
            return {"project": {"artifact": None}}
        if "viewer" in query:
            return {"viewer": {"id": "u", "username": "me", "entity": "me", "email": "me@here",
                               "flags": "{}", "teams": {"edges": []}}}  # fmt: skip
        return {}

    def stream(self, name: str, told: dict[str, Any]) -> None:
        run = self.runs[name]
        for file, part in told.get("files", {}).items():
            lines = [json.loads(line) for line in part["content"]]
            if file == "wandb-history.jsonl":
                run["history"][part["offset"] : part["offset"] + len(lines)] = lines
            elif file == "wandb-summary.json":
                run["summary"] = lines[-1]
        if "exitcode" in told:
            run["exitcode"] = told["exitcode"]


class Handler(BaseHTTPRequestHandler):
    of: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        found: dict[str, Any] = {}
        with self.of.lock:
            if self.of.status != 200:
                found = {"error": "no more"}
            elif self.path == "/graphql":
                asked = json.loads(body)
                found = {"data": self.of.answer(asked["query"], asked.get("variables") or {})}
            elif stream := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
                self.of.stream(stream[1], json.loads(body))
        answer = json.dumps(found).encode()
        self.send_response(self.of.status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = respond


DENIED = b'{"errors":[{"message":"permission denied"}]}'
ANSWERS = {  # what a server of no use does with a connection
    "hangs": lambda connection: connection.recv(65536) and threading.Event().wait(),
    "drops": lambda connection: connection.recv(100),
    "denies": lambda connection: connection.recv(65536) and connection.sendall(
        b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(DENIED), DENIED)
    ),
}  # fmt: skip


class UselessServer:
    """Refuses, hangs, drops connections or denies access. A context manager."""

    def __init__(self, kind: str) -> None:
        self.kind, self.socket = kind, socket.create_server(("127.0.0.1", 0))
        self.environment = environment(self.socket.getsockname()[1])

    def __enter__(self) -> Self:
        if self.kind == "refuses":
            self.socket.close()
        else:
            threading.Thread(target=self.serve, daemon=True).start()
        return self

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:  # the end
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            ANSWERS[self.kind](connection)

    def __exit__(self, *_) -> None:
        self.socket.close()


def environment(port: int) -> dict[str, str]:
    return {"WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": KEY}
