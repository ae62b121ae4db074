"""Real databases for tests, a stand-in for InfluxDB 2's paths, and a server that fails as told.

InfluxDB 1.6, VictoriaMetrics and Prometheus are the real ones, started through `tests.processes`.
InfluxDB 2 cannot be installed where the tests run: `influx_v2_stand_in` offers its write path in front
of InfluxDB 1.6. `faulty` gives the answers that a healthy database does not give.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

from tests.processes import binary, free_port, server

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping
    from pathlib import Path

INFLUX_SETTINGS = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
  max-series-per-database = 0
  max-values-per-tag = 0
[http]
  bind-address = "127.0.0.1:{port}"
  auth-enabled = {auth}
  log-enabled = false
  max-body-size = {max_body}
[monitor]
  store-enabled = false
[subscriber]
  enabled = false
[continuous_queries]
  enabled = false
"""


def fetch(url: str, *, data: bytes | None = None, timeout_s: float = 15) -> bytes:
    """Return the body of a GET, or of a POST where there is data; an error status raises with its body."""
    try:
        with urllib.request.urlopen(url, data=data, timeout=timeout_s) as response:  # noqa: S310 - our own loopback
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{error.code} {url}: {error.read()[:500]!r}") from error


def answers(url: str) -> bool:
    """Tell whether that address answers a GET without an error."""
    with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
        fetch(url, timeout_s=1)
        return True
    return False


@dataclass(frozen=True)
class Influx:
    """A running InfluxDB 1.6. To restart it, leave the block and enter again with its folder and port."""

    url: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def query(self, text: str, database: str = "ecluse") -> list[dict[str, object]]:
        """Run InfluxQL; return one dict a row (`name` is the measurement, `time` is in ns)."""
        form = {"db": database, "epoch": "ns", "q": text}
        body = json.loads(fetch(f"{self.url}/query", data=urllib.parse.urlencode(form).encode()))
        rows: list[dict[str, object]] = []
        for result in body["results"]:
            assert "error" not in result, result
            for series in result.get("series", ()):
                names = series["columns"]
                shared = {"name": series.get("name"), **series.get("tags", {})}
                rows += [{**shared, **dict(zip(names, values, strict=True))} for values in series["values"]]
        return rows

    def create(self, database: str) -> None:
        """Make a database."""
        self.query(f'CREATE DATABASE "{database}"')

    def write(self, lines: bytes, database: str = "ecluse") -> None:
        """Write lines as they are; a refusal raises AssertionError with the server's sentence."""
        fetch(f"{self.url}/write?db={database}&precision=ns", data=lines)


@contextlib.contextmanager
def influxdb(
    folder: Path, *, port: int = 0, auth: bool = False, database: str = "ecluse", max_body: int = 25_000_000
) -> Iterator[Influx]:
    """Run a real InfluxDB 1.6 that keeps its files in `folder`, with `database` made (unless `auth`)."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "influxdb.conf"
    settings.write_text(
        INFLUX_SETTINGS.format(
            rpc=free_port(), folder=folder, port=port, auth=str(auth).lower(), max_body=max_body
        )
    )
    url = f"http://127.0.0.1:{port}"
    command = [binary("influxd", "influxdb"), "-config", str(settings)]
    with server(command, log=folder / "influxd.log", ready=lambda: answers(f"{url}/ping")) as process:
        running = Influx(url=url, port=port, folder=folder, process=process)
        if database and not auth:
            running.create(database)
        yield running


@dataclass(frozen=True)
class VictoriaMetrics:
    """A running VictoriaMetrics; a field is read as the metric `measurement_field`."""

    url: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def export(self, selector: str) -> list[dict[str, object]]:
        """Return what is stored, as (`metric`: labels, `values`, `timestamps` in ms) a series.

        New series are seen after half a second or so: poll with `wait_until`.
        """
        fetch(f"{self.url}/internal/force_flush")
        form = urllib.parse.urlencode({"match[]": selector}).encode()
        lines = fetch(f"{self.url}/api/v1/export", data=form).splitlines()
        return [json.loads(line) for line in lines]

    def counter(self, name: str) -> float:
        """Return the sum of one of its own metrics over its labels, such as `vm_rows_invalid_total`."""
        lines = fetch(f"{self.url}/metrics").decode().splitlines()
        starts = (f"{name} ", f"{name}{{")
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(starts))


@contextlib.contextmanager
def victoria_metrics(folder: Path, *, port: int = 0) -> Iterator[VictoriaMetrics]:
    """Run a real VictoriaMetrics that keeps its files in `folder`."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{port}"
    command = [
        binary("victoria-metrics", "victoria-metrics"),
        f"-storageDataPath={folder / 'data'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=10y",
        "-search.latencyOffset=0s",
    ]
    with server(
        command, log=folder / "victoria-metrics.log", ready=lambda: answers(f"{url}/health")
    ) as process:
        yield VictoriaMetrics(url=url, port=port, folder=folder, process=process)


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def query(self, expression: str) -> list[dict[str, object]]:
        """Return the result of an instant query."""
        body = json.loads(fetch(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"))
        assert body["status"] == "success", body
        result: list[dict[str, object]] = body["data"]["result"]
        return result


@contextlib.contextmanager
def prometheus(folder: Path, *, settings: str, port: int = 0) -> Iterator[Prometheus]:
    """Run a real Prometheus with that `prometheus.yml`."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "prometheus.yml"
    file.write_text(settings, encoding="utf-8")
    url = f"http://127.0.0.1:{port}"
    command = [
        binary("prometheus", "prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with server(command, log=folder / "prometheus.log", ready=lambda: answers(f"{url}/-/ready")) as process:
        yield Prometheus(url=url, port=port, folder=folder, process=process)


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run an HTTP server of ours in threads of its own; yield its address."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    """What our servers share: HTTP/1.1, no log, the whole body read before an answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""

    def body(self) -> bytes:
        """Read the request's body."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def reply(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Answer."""
        if "Date" in (headers or {}):
            self.send_response_only(status)
        else:
            self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def forwarded(url: str, body: bytes) -> tuple[int, bytes]:
    """Post a body to a real server; return its status and its answer (503 where it is away)."""
    to = urllib.parse.urlsplit(url)
    try:
        with contextlib.closing(http.client.HTTPConnection(to.netloc, timeout=15)) as connection:
            connection.request("POST", f"{to.path}?{to.query}", body=body)
            response = connection.getresponse()
            return response.status, response.read()
    except OSError:
        return 503, b'{"error": "what stands behind is away"}'


@contextlib.contextmanager
def influx_v2_stand_in(
    influx: Influx,
    *,
    token: str = "a-token",  # noqa: S107 - a made-up one
    org: str = "city",
    bucket: str = "ecluse",
) -> Iterator[str]:
    """Offer InfluxDB 2's write path in front of InfluxDB 1.6, whose database is the bucket.

    A stand-in, not the real thing: the token, the organisation, the bucket, JSON errors with a code, and
    422 where points are refused (InfluxDB 1.6 says 400) are InfluxDB 2's; parsing and storing are 1.6's.
    """

    class Version2(Handler):
        """InfluxDB 2, as far as writing goes."""

        def refuse(self, status: int, code: str, message: str) -> None:
            self.reply(status, json.dumps({"code": code, "message": message}).encode(), self.version)

        version: ClassVar = {"X-Influxdb-Version": "2-stand-in"}

        def do_GET(self) -> None:
            self.reply(200, b'{"name": "influxdb", "status": "pass", "version": "2-stand-in"}', self.version)

        def do_POST(self) -> None:
            body, parts = self.body(), urllib.parse.urlsplit(self.path)
            asked = dict(urllib.parse.parse_qsl(parts.query))
            if self.headers.get("Authorization") != f"Token {token}":
                self.refuse(401, "unauthorized", "unauthorized access")
            elif parts.path != "/api/v2/write":
                self.refuse(404, "not found", "path not found")
            elif asked.get("org") != org:
                self.refuse(404, "not found", f'organization name "{asked.get("org")}" not found')
            elif asked.get("bucket") != bucket:
                self.refuse(404, "not found", f'bucket "{asked.get("bucket")}" not found')
            else:
                status, answer = forwarded(f"{influx.url}/write?db={bucket}&precision=ns", body)
                message = json.loads(answer or b"{}").get("error", "")
                if status == 400 and "partial write: field type" in message:
                    self.refuse(422, "unprocessable entity", f"failure writing points to database: {message}")
                elif status >= 400:
                    self.refuse(status, "invalid" if status == 400 else "internal error", message)
                else:
                    self.reply(204, headers=self.version)

    with serving(Version2) as url:
        yield url


class Fault(Enum):
    """Ways to fail that are no HTTP answer."""

    HANG = "reads the request and never answers"
    CUT = "reads the request and cuts the connection"
    STORE_AND_CUT = "forwards the request, then cuts the connection before the answer"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, given as told."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": "as the test asked"}'


@dataclass
class Faulty:
    """A server of ours that fails as told, then is healthy: forwards to `forward`, or says 204."""

    url: str = ""
    script: list[Answer | Fault] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


@contextlib.contextmanager
def faulty(*script: Answer | Fault, forward: str = "") -> Iterator[Faulty]:
    """Run a fake server that gives the answers of `script` in turn, then forwards to `forward` (or says 204).

    Only POSTs use up the script. `Faulty.script` may be extended while it runs.
    """
    state = Faulty(script=list(script))
    over = threading.Event()

    class Fake(Handler):
        def pass_on(self, body: bytes) -> tuple[int, bytes]:
            return forwarded(forward + self.path, body) if forward else (204, b"")

        def do_GET(self) -> None:
            self.reply(200, b"{}", {"X-Influxdb-Version": "fake"})

        def do_POST(self) -> None:
            body = self.body()
            state.paths.append(self.path)
            state.bodies.append(body)
            step = state.script.pop(0) if state.script else None
            if isinstance(step, Answer):
                self.reply(step.status, step.body, step.headers)
                return
            if step is None:
                self.reply(*self.pass_on(body))
                return
            self.close_connection = True
            if step is Fault.STORE_AND_CUT:
                self.pass_on(body)
            if step is Fault.HANG:
                over.wait(30)

    with serving(Fake) as url:
        state.url = url
        try:
            yield state
        finally:
            over.set()
