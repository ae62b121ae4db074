"""The gateway's HTTP: status page, health, metrics, the questions of `ecluse query`, profiles and quarantine.

Read-only but for seven things: writing and removing profiles, pausing a sink, confirming a suspect clock,
copying the embedded stores for a backup, taking what `ecluse replay --apply` writes and removes, stepping
aside for a command that needs the state folder, and what `ecluse quarantine` does with what was refused.
Where there is a token, everything but `/healthz` and `/readyz` asks for it, as a Bearer token or as the
password of any user. Where there is none, only requests addressed to this machine's own names are answered:
a page of another site that a browser here is looking at cannot read the status by giving its own name our
address.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from gateway.api.profiles import ProfileAnswers
from gateway.api.quarantine import QuarantineAnswers
from gateway.api.questions import answer
from gateway.clock import rfc3339
from gateway.errors import BackupError, QueryError, SinkUnavailable
from gateway.health.collector import SnapshotCollector
from gateway.literals import is_loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.health.snapshot import Snapshot
    from gateway.ports import Profiles, Quarantine, TimeSeries

    Page = Callable[[str], Awaitable[str]]
    """Accept-Language header → HTML."""

_CHANGING = frozenset({"POST", "PUT", "DELETE"})
_OPEN = frozenset({"/healthz", "/readyz"})
MOST_BODY = 16_000_000
"""What is read of a request, in bytes: a record of a reprocessing has a quarter of it, or a single point."""
_HEADERS = [
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; form-action 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


@dataclass(slots=True)
class Key:
    """The token that is asked for, None for none; it may be exchanged while the server runs."""

    token: str | None = None


class Guard:
    """ASGI middleware: the token, and the headers that every answer carries."""

    def __init__(self, app: ASGIApp, *, key: Key) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 without the token; else pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        app = self._app
        if scope["path"] not in _OPEN:
            app = self._refusal(headers, scope["method"]) or app
        await app(scope, receive, with_headers)

    def _refusal(self, headers: Mapping[bytes, str], method: str) -> ASGIApp | None:
        """Return the answer to a request that may not pass; None where it may."""
        host = headers.get(b"host", "")
        if self._key.token is None and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            what = "Without a token the gateway answers to localhost alone: set ECLUSE_HTTP__TOKEN.\n"
            return PlainTextResponse(what, status_code=421)
        if not self._admits(headers.get(b"authorization", "")):
            return PlainTextResponse(
                "The token is missing or wrong: send it as Bearer token, or as password.\n",
                status_code=401,
                headers={"www-authenticate": 'Basic realm="ecluse"'},
            )
        # A browser says where a form comes from, and sends the password along whoever made the form.
        origin = headers.get(b"origin", "")
        if method in _CHANGING and origin and urlsplit(origin).netloc != host:
            return PlainTextResponse("This form is of another site.\n", status_code=403)
        return None

    def _admits(self, header: str) -> bool:
        if self._key.token is None:
            return True
        scheme, _, value = header.partition(" ")
        given = value.strip().encode("latin-1")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except ValueError:
                return False
        return hmac.compare_digest(given, self._key.token.encode())


class Answers:
    """What each route answers, from the read functions that it was given."""

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot],
        page: Page,
        store: TimeSeries | None,
        pause: Callable[[str, float], bool],
        confirm_clock: Callable[[], bool],
        copy_stores: Callable[[], Awaitable[Sequence[str]]],
        rewrite: Callable[[bytes], Awaitable[str]],
        lend: Callable[[], bool],
        quarantine: Quarantine,
        profiles: Profiles,
    ) -> None:
        self.quarantine = QuarantineAnswers(quarantine)
        self.profiles = ProfileAnswers(profiles)
        self._snapshot = snapshot
        self._page = page
        self._store = store
        self._pause = pause
        self._confirm_clock = confirm_clock
        self._copy_stores = copy_stores
        self._rewrite = rewrite
        self._lend = lend
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(SnapshotCollector(snapshot))

    async def page(self, request: Request) -> Response:
        """The status page, in the browser's language."""
        return HTMLResponse(await self._page(request.headers.get("accept-language", "")))

    async def healthz(self, _request: Request) -> Response:
        """200 while the process answers."""
        return PlainTextResponse("alive\n")

    async def readyz(self, _request: Request) -> Response:
        """200 where every component is well, else 503; a line a component."""
        now = self._snapshot()
        lines = [
            f"{part.name}: {part.state} since {rfc3339(part.since_ns)} {part.last_error}".rstrip()
            for part in now.components
        ]
        return PlainTextResponse("\n".join(lines) + "\n", status_code=200 if now.ready else 503)

    async def metrics(self, _request: Request) -> Response:
        """Prometheus' text format."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def status(self, _request: Request) -> Response:
        """The whole snapshot as JSON."""
        return JSONResponse(self._snapshot().as_dict())

    async def query(self, request: Request) -> Response:
        """A question to the embedded store; 400 or 503 with a hint where it cannot be answered."""
        try:
            return await answer(self._store, dict(request.query_params), self._snapshot().now_ns)
        except QueryError as error:
            return JSONResponse({"error": str(error), "hint": error.hint}, status_code=400)
        except SinkUnavailable as error:
            return JSONResponse({"error": str(error), "hint": error.hint}, status_code=503)

    async def pause(self, request: Request) -> Response:
        """Let a sink wait for some seconds (at most an hour): its points wait in the outbox."""
        name = request.path_params["name"]
        try:
            seconds = min(max(float(request.query_params.get("seconds", "20")), 0.0), 3600.0)
        except ValueError:
            return JSONResponse({"error": "seconds: not a number", "hint": "such as 20"}, status_code=400)
        if not self._pause(name, seconds):
            return JSONResponse({"error": f"no sink is called {name!r}", "hint": ""}, status_code=404)
        return _pressed(request, {"paused": name, "seconds": seconds})

    async def clock(self, request: Request) -> Response:
        """Believe the machine's clock as it stands; says what it was, and whether it had been suspect."""
        clock = self._snapshot().clock
        said = asdict(clock) | {"confirmed": self._confirm_clock()}
        return _pressed(request, said)

    async def copy_stores(self, _request: Request) -> Response:
        """Copy the embedded stores into the state folder, for `ecluse backup`; say the files' names."""
        try:
            return JSONResponse({"copies": list(await self._copy_stores())})
        except BackupError as error:
            return JSONResponse({"error": str(error), "hint": error.hint}, status_code=409)
        except SinkUnavailable as error:
            return JSONResponse({"error": str(error), "hint": error.hint}, status_code=503)

    async def rewrites(self, request: Request) -> Response:
        """Take points of a reprocessing; says why it must wait where it must, and is to be asked again."""
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MOST_BODY:
                said = {"error": f"more than {MOST_BODY} bytes at once", "hint": "send fewer points"}
                return JSONResponse(said, status_code=413)
        try:
            return JSONResponse({"waits": await self._rewrite(bytes(body))})
        except QueryError as error:
            return JSONResponse({"error": str(error), "hint": error.hint}, status_code=400)

    async def lend(self, _request: Request) -> Response:
        """Stop in order and let another process have the state folder; the gateway comes back by itself."""
        if not self._lend():
            what, hint = "the gateway is stopping already", "try again once it has stopped or started"
            return JSONResponse({"error": what, "hint": hint}, status_code=409)
        return JSONResponse({"lends": True})


def _pressed(request: Request, said: Mapping[str, object]) -> Response:
    """Answer a button of the page with the page, and a program with JSON."""
    if "text/html" in request.headers.get("accept", ""):
        return Response(status_code=303, headers={"location": "/"})
    return JSONResponse(said)


def application(answers: Answers, *, key: Key) -> Starlette:
    """Return the ASGI application."""
    static = Path(__file__).parent.parent / "console" / "static"
    return Starlette(
        routes=[
            Route("/", answers.page),
            Route("/healthz", answers.healthz),
            Route("/readyz", answers.readyz),
            Route("/metrics", answers.metrics),
            Route("/api/status", answers.status),
            Route("/api/query", answers.query),
            Route("/api/sinks/{name}/pause", answers.pause, methods=["POST"]),
            Route("/api/clock/confirm", answers.clock, methods=["POST"]),
            Route("/api/stores/copies", answers.copy_stores, methods=["POST"]),
            Route("/api/rewrites", answers.rewrites, methods=["POST"]),
            Route("/api/lend", answers.lend, methods=["POST"]),
            Route("/api/quarantine/replay", answers.quarantine.replay, methods=["POST"]),
            Route("/api/quarantine/drop", answers.quarantine.drop, methods=["POST"]),
            Route("/api/profiles", answers.profiles.all),
            Route("/api/profiles/{name}", answers.profiles.one),
            Route("/api/profiles/{name}", answers.profiles.put, methods=["PUT"]),
            Route("/api/profiles/{name}", answers.profiles.delete, methods=["DELETE"]),
            Mount("/static", StaticFiles(directory=static)),
        ],
        middleware=[Middleware(Guard, key=key)],
    )
