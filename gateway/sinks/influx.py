"""The adapter of InfluxDB 1, 2 and 3, and of VictoriaMetrics.

InfluxDB 2 and 3 and VictoriaMetrics are written through influxdb-client (`/api/v2/write`), InfluxDB 1
through plain HTTP (`/write`). What the server answers is turned into the sinks' two exceptions here and
nowhere else: `SinkUnavailable` (with a hint, and the server's own wish for when) or `PointsRejected`.

Delivery guarantees: a write that raises `SinkUnavailable` may have stored some or all of its points
(`ambiguous` says so where the request had been sent); writing the same points again changes nothing in
InfluxDB. VictoriaMetrics answers 204 whatever it thinks of a line: what it refuses is counted only in its
own `vm_rows_invalid_total`.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import itertools
import ssl
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, cast

import aiohttp
import orjson
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException

from gateway.errors import PointsRejected, SinkUnavailable
from gateway.sinks import line_protocol
from gateway.sinks.refusals import Refusal, settle

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SMALLEST_BODY = 10_000
"""However often a server answers 413, a request may hold this many bytes."""

REFUSED_RETRY_S = 60.0
"""Wrong credentials or a missing database: only a person mends that, so ask seldom."""


NANOSECONDS: WritePrecision = cast("WritePrecision", WritePrecision.NS)  # the library declares it a str


class Api(StrEnum):
    """Which server it is; the values are those of the setting `kind`."""

    INFLUXDB1 = "influxdb1"
    INFLUXDB2 = "influxdb2"
    INFLUXDB3 = "influxdb3"
    VICTORIAMETRICS = "victoriametrics"


@dataclass(frozen=True, slots=True)
class InfluxSettings:
    """Where points are written.

    `bucket` is the bucket (InfluxDB 2), the database (InfluxDB 1, 3), and unused by VictoriaMetrics;
    `token` is the token, or the password of `username` (InfluxDB 1). `create` makes a missing database
    (InfluxDB 1). `gzip` costs 0.4 to 0.8 µs a point: for slow lines only. `max_body` bytes is where a
    request is split; a server that answers 413 lowers it. Above 1 MiB a body holds the loop up while it is
    copied, and aiohttp warns of it; 5,000 points of six fields are 0.7 MB.
    """

    name: str
    api: Api
    url: str
    bucket: str = "ecluse"
    org: str = ""
    username: str = ""
    token: str = field(default="", repr=False)
    timeout_s: float = 30.0
    ca_file: str = ""
    create: bool = False
    gzip: bool = False
    max_body: int = 1_000_000


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    text: str
    headers: Mapping[str, str]


class InfluxSink:
    """Writes line protocol. One request in flight; connections are opened on first use."""

    def __init__(self, settings: InfluxSettings) -> None:
        self.name = settings.name
        self.overwrites = settings.api is not Api.VICTORIAMETRICS
        self._settings = settings
        self._max_body = settings.max_body
        self._session: aiohttp.ClientSession | None = None
        self._client: InfluxDBClientAsync | None = None
        self._renewed = False

    def renew(self, *, username: str, token: str) -> None:
        """Use these credentials, and read the authority's certificate anew, from the next call on."""
        self._settings = replace(self._settings, username=username, token=token)
        self._renewed = True

    async def write(self, bodies: Sequence[bytes]) -> None:
        """Store the lines of some outbox entries, in their order (a later one wins).

        Raises `SinkUnavailable`, or `PointsRejected` once all points but those named are stored.
        """
        await self._begin()
        refused: list[tuple[bytes, str]] = []
        for body in _requests(bodies, self._max_body):
            refused += await self._stored(body)
        if refused:
            raise PointsRejected(
                f"{self.name} refused {len(refused)} points, the first one: {refused[0][1]}", lines=refused
            )

    async def check(self) -> str:
        """Return the server's version, having proved that the credentials may write: an empty write.

        Raises `SinkUnavailable`.
        """
        await self._begin()
        reply = await self._plain(b"")
        if reply.status == 404 and await self._created():
            reply = await self._plain(b"")
        # InfluxDB 2 and 3 let us in and then ask for points.
        if reply.status != 400 or self._settings.api in (Api.INFLUXDB1, Api.VICTORIAMETRICS):
            _raise_unless_stored(reply, self._settings)
        if self._settings.api is Api.VICTORIAMETRICS:
            return f"VictoriaMetrics at {self._settings.url}"
        version = reply.headers.get("X-Influxdb-Version", "of unknown version")
        return f"InfluxDB {version} at {self._settings.url}, into {self._settings.bucket}"

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        session, self._session = self._session, None
        if client is not None:
            await client.close()  # type: ignore[no-untyped-call]
        if session is not None:
            await session.close()

    async def _begin(self) -> None:
        """Give up the connections that were made with other credentials."""
        if self._renewed:
            self._renewed = False
            await self.close()

    async def _stored(self, body: bytes) -> list[tuple[bytes, str]]:
        """Store a body; return the lines that the server refuses for good, each with its reason."""
        refusal = await self._send(body)
        if refusal is None:
            return []
        if refusal.too_large:
            self._max_body = max(len(body) // 2, SMALLEST_BODY)
        work = settle(line_protocol.split(body), refusal)
        try:
            lines = next(work)
            while True:
                lines = work.send(await self._send(b"\n".join(lines)))
        except StopIteration as end:
            return list(end.value)

    async def _send(self, body: bytes) -> Refusal | None:
        """Send a body once; None means stored."""
        post = self._plain if self._settings.api is Api.INFLUXDB1 else self._through_client
        reply = await post(body)
        if reply.status == 404 and await self._created():
            reply = await post(body)
        if reply.status in (400, 413, 422):
            return Refusal(_sentence(reply), too_large=reply.status == 413)
        _raise_unless_stored(reply, self._settings)
        return None

    async def _through_client(self, body: bytes) -> Reply:
        """Write through influxdb-client: bytes go out as they are."""
        settings = self._settings
        with _translated(settings):
            if self._client is None:
                self._client = InfluxDBClientAsync(
                    url=settings.url,
                    token=settings.token,
                    org=settings.org,
                    timeout=round(settings.timeout_s * 1_000),
                    enable_gzip=settings.gzip,
                    ssl_ca_cert=settings.ca_file or None,
                    allow_redirects=False,
                )
            api = self._client.write_api()
            try:
                await api.write(bucket=settings.bucket, record=body, write_precision=NANOSECONDS)
            except ApiException as error:
                text = (
                    error.body.decode("utf-8", "replace")
                    if isinstance(error.body, bytes)
                    else str(error.body)
                )
                return Reply(int(error.status), text, error.headers)
        return Reply(204, "", {})

    async def _plain(self, body: bytes) -> Reply:
        """Write through plain HTTP."""
        settings = self._settings
        path, query = "/api/v2/write", {"bucket": settings.bucket, "org": settings.org}
        if settings.api is Api.INFLUXDB1:
            path, query = "/write", {"db": settings.bucket}
        content = gzip.compress(body, 1) if settings.gzip else body
        return await self._post(path, query | {"precision": "ns"}, content)

    async def _post(self, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        settings = self._settings
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if settings.gzip:
            headers["Content-Encoding"] = "gzip"
        if settings.username:
            pair = f"{settings.username}:{settings.token}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        elif settings.token:
            headers["Authorization"] = f"Token {settings.token}"
        url = settings.url.rstrip("/") + path
        with _translated(settings):
            if self._session is None:
                trust = ssl.create_default_context(cafile=settings.ca_file or None)
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=trust),
                    timeout=aiohttp.ClientTimeout(total=settings.timeout_s),
                )
            async with self._session.post(
                url, params=query, data=body, headers=headers, allow_redirects=False
            ) as response:
                return Reply(response.status, await response.text(errors="replace"), dict(response.headers))

    async def _created(self) -> bool:
        """Make the database where it is asked for (InfluxDB 1); tell whether it is there now."""
        if not self._settings.create or self._settings.api is not Api.INFLUXDB1:
            return False
        name = self._settings.bucket.replace("\\", "\\\\").replace('"', '\\"')
        reply = await self._post("/query", {"q": f'CREATE DATABASE "{name}"'}, b"")
        return reply.status == 200 and '"error"' not in reply.text


def _requests(bodies: Sequence[bytes], largest: int) -> Iterator[bytes]:
    """Join entries into request bodies of at most `largest` bytes; split an entry that is larger."""
    waiting: list[bytes] = []
    size = 0
    for piece in itertools.chain.from_iterable(_pieces(body, largest) for body in bodies):
        if waiting and size + len(piece) + 1 > largest:
            yield b"\n".join(waiting)
            waiting, size = [], 0
        waiting.append(piece)
        size += len(piece) + 1
    if waiting:
        yield b"\n".join(waiting)


def _pieces(body: bytes, largest: int) -> Sequence[bytes]:
    if not body:
        return []
    return [body] if len(body) <= largest else line_protocol.split(body)


def _sentence(reply: Reply) -> str:
    """What the server said: the message of a JSON answer, else the text."""
    with contextlib.suppress(orjson.JSONDecodeError):
        answer = orjson.loads(reply.text)
        if isinstance(answer, dict):
            return str(answer.get("message") or answer.get("error") or reply.text)
    return reply.text.strip() or f"HTTP {reply.status}"


def _raise_unless_stored(reply: Reply, settings: InfluxSettings) -> None:
    """Turn an answer that is not a success into `SinkUnavailable`, with what the reader can do."""
    if 200 <= reply.status < 300:
        return
    said = f"{settings.name}: {settings.url} answered {reply.status}: {_sentence(reply)[:300]}"
    if reply.status in _HINTS:
        hint = _HINTS[reply.status].format(bucket=settings.bucket, url=settings.url)
        raise SinkUnavailable(said, hint=hint, retry_after_s=REFUSED_RETRY_S)
    if reply.status in (429, 503) or reply.status >= 500:
        raise SinkUnavailable(said, hint="it is asked again by itself", retry_after_s=_retry_after_s(reply))
    raise SinkUnavailable(said, hint="is this the address of the database?", retry_after_s=REFUSED_RETRY_S)


_HINTS: Mapping[int, str] = {
    401: "check the sink's token, or user and password: the server does not know them",
    403: "give this token the right to write into {bucket}",
    404: "create {bucket}, or check its name, the organisation's and the address {url}",
}


def _retry_after_s(reply: Reply) -> float | None:
    """Read Retry-After: seconds, or a date against the server's own Date. None where it says neither."""
    value = reply.headers.get("Retry-After", "")
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return seconds if 0 <= seconds < float("inf") else None
    with contextlib.suppress(ValueError, TypeError):
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(reply.headers.get("Date", ""))
        return max(wait.total_seconds(), 0.0)
    return None


@contextlib.contextmanager
def _translated(settings: InfluxSettings) -> Iterator[None]:
    """Turn the clients' exceptions into `SinkUnavailable`: only a failed connect surely stored nothing."""
    where = f"{settings.name}: {settings.url}"
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise SinkUnavailable(
            f"{where} cannot be reached: {error}", hint="is the database running, and is this its address?"
        ) from error
    except TimeoutError as error:
        raise SinkUnavailable(
            f"{where} did not answer within {settings.timeout_s:g} s", ambiguous=True
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise SinkUnavailable(f"{where} broke off: {error!r}", ambiguous=True) from error
