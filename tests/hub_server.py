"""A hub on loopback: what huggingface_hub asks of the real one, answered as the real one answers.

Repositories have commits, branches and files; large files are redirected to a second server, as the real hub
does to its file store. Faults are put in front: the next requests that match one are answered by it.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".bin", ".parquet", ".model")
"""Files that the hub keeps in its file store (LFS)."""
PAGE = 3
"""Files a page of a listing: few, so that the client has to turn pages."""


@dataclass
class Repo:
    """One repository: files by commit, commits by branch."""

    kind: Literal["model", "dataset"]
    id: str
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    readers: set[str] = field(default_factory=set)
    """Tokens whose owners may read what is gated or private."""

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """A new commit with these files; the branch moves to it."""
        content = json.dumps({name: hashlib.sha1(data).hexdigest() for name, data in sorted(files.items())})
        commit = hashlib.sha1(f"{len(self.commits)} {content}".encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.branches[branch] = commit
        return commit


@dataclass
class Fault:
    """What the next requests get whose method and path match, as many as `times` (0: all of them)."""

    path: str
    method: str = "GET|HEAD"
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """Bytes of the body after which the connection is closed."""
    hang_seconds: float = 0.0
    times: int = 1


@dataclass(frozen=True)
class Request:
    """One request that came in."""

    method: str
    path: str
    authorization: str | None
    range: str | None
    store: bool
    """At the file store."""


class HubServer:
    """The hub and its file store, each on a port of its own."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.tokens: set[str] = set()
        """Tokens that are somebody's."""
        self._lock = threading.Lock()
        self._servers = [self._server(store=False), self._server(store=True)]

    def repo(self, kind: Literal["model", "dataset"], name: str, **options: Any) -> Repo:
        """A new repository."""
        self.repos[kind, name] = Repo(kind, name, **options)
        return self.repos[kind, name]

    @property
    def url(self) -> str:
        """For HF_ENDPOINT."""
        return _url(self._servers[0])

    @property
    def store_url(self) -> str:
        return _url(self._servers[1])

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The first fault that matches, one time less."""
        with self._lock:
            for fault in self.faults:
                if re.fullmatch(fault.method, method) and re.search(fault.path, path):
                    if fault.times == 1:
                        self.faults.remove(fault)
                    fault.times = max(0, fault.times - 1) if fault.times else 0
                    return fault
        return None

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _server(self, *, store: bool) -> ThreadingHTTPServer:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub, Handler.store = hub, store
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        return server


def _url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


class _Answer(Exception):  # noqa: N818
    """An answer that ends a request."""

    def __init__(self, status: int, body: bytes = b"", **headers: str) -> None:
        super().__init__(status)
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer
    store: bool

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""

    def _serve(self) -> None:
        authorization = self.headers.get("authorization")
        self.hub.requests.append(
            Request(self.command, self.path, authorization, self.headers.get("range"), self.store)
        )
        fault = self.hub.take_fault(self.command, self.path)
        if fault is not None and fault.hang_seconds:
            time.sleep(fault.hang_seconds)
        if fault is not None and fault.status is not None:
            self._send(_Answer(fault.status, b"{}", **fault.headers), None)
            return
        if fault is not None and fault.cut_after is None and not fault.hang_seconds:
            self.close_connection = True  # the connection is closed without an answer
            return
        try:
            url = urlsplit(self.path)
            answer = (
                self._stored(url.path) if self.store else self._hub(unquote(url.path), parse_qs(url.query))
            )
        except _Answer as early:
            answer = early
        self._send(answer, fault.cut_after if fault is not None else None)

    def _send(self, answer: _Answer, cut_after: int | None) -> None:
        body, headers = answer.body, answer.headers
        if (wanted := self.headers.get("range")) and answer.status == 200 and self.command == "GET":
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            headers = {**headers, "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            answer, body = _Answer(206), body[start:]
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body if cut_after is None else body[:cut_after])
        if cut_after is not None:
            self.wfile.flush()
            self.close_connection = True

    def _hub(self, path: str, query: Mapping[str, list[str]]) -> _Answer:
        if match := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+|[^/]+)/revision/(.+)", path):
            repo = self._repo(match[1], match[2], files=False)
            return _json({"id": repo.id, "sha": self._commit(repo, match[3]), "gated": repo.gated})
        if match := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+|[^/]+)/tree/(.+)", path):
            repo = self._repo(match[1], match[2], files=False)
            return self._tree(repo, self._commit(repo, match[3]), int(query.get("cursor", ["0"])[0]))
        if match := re.fullmatch(r"/(datasets/)?((?:[^/]+/)?[^/]+)/resolve/([^/]+)/(.+)", path):
            repo = self._repo("datasets" if match[1] else "models", match[2], files=True)
            return self._file(repo, self._commit(repo, match[3]), match[4])
        raise _Answer(404, b"{}")

    def _repo(self, kinds: str, name: str, *, files: bool) -> Repo:
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise _Answer(401, b"{}", X_Error_Message="Invalid credentials in Authorization header")
        repo = self.hub.repos.get((kinds.removesuffix("s"), name))
        if repo is None or (repo.private and token not in repo.readers):
            if not token:  # the hub does not tell strangers what there is
                raise _Answer(401, b"{}", X_Error_Message="Invalid username or password.")
            raise _Answer(404, b"{}", X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        if files and repo.gated and token not in repo.readers:
            raise _Answer(403 if token else 401, b"{}", X_Error_Code="GatedRepo")
        return repo

    def _commit(self, repo: Repo, revision: str) -> str:
        commit = repo.branches.get(revision, revision)
        if commit not in repo.commits:
            raise _Answer(404, b"{}", X_Error_Code="RevisionNotFound")
        return commit

    def _tree(self, repo: Repo, commit: str, start: int) -> _Answer:
        names = sorted(repo.commits[commit])
        entries = []
        for name in names[start : start + PAGE]:
            data = repo.commits[commit][name]
            entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": _git_sha1(data)}
            if name.endswith(LARGE):
                entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 134}
            entries.append(entry)
        answer = _json(entries)
        if start + PAGE < len(names):
            api = f"{self.hub.url}/api/{repo.kind}s/{repo.id}/tree/{commit}"
            answer.headers["Link"] = f'<{api}?recursive=true&cursor={start + PAGE}>; rel="next"'
        return answer

    def _file(self, repo: Repo, commit: str, name: str) -> _Answer:
        data = repo.commits[commit].get(name)
        if data is None:
            raise _Answer(404, b"{}", X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        if not name.endswith(LARGE):
            return _Answer(200, data, ETag=f'"{_git_sha1(data)}"', X_Repo_Commit=commit)
        return _Answer(
            302,
            Location=f"{self.hub.store_url}/{repo.kind}/{repo.id}/{commit}/{name}?signature=once",
            ETag=f'"{_git_sha1(data)}"',
            X_Repo_Commit=commit,
            X_Linked_Etag=f'"{_sha256(data)}"',
            X_Linked_Size=str(len(data)),
        )

    def _stored(self, path: str) -> _Answer:
        match = re.fullmatch(r"/(model|dataset)/((?:[^/]+/)?[^/]+)/([0-9a-f]{40})/(.+)", path)
        assert match is not None, path
        data = self.hub.repos[match[1], match[2]].commits[match[3]][match[4]]
        return _Answer(200, data, ETag=f'"{_sha256(data)}"')


def _json(value: Any) -> _Answer:
    return _Answer(200, json.dumps(value).encode(), Content_Type="application/json")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
