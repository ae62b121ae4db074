"""The InfluxDB adapter against servers that fail, and what only real servers show."""

from __future__ import annotations

import contextlib
import gzip
import uuid
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gateway.errors import PointsRejected, SinkUnavailable
from gateway.model import Column, FieldType, Points
from gateway.sinks import line_protocol
from gateway.sinks.influx import Api, InfluxSettings, InfluxSink
from tests.databases import Answer, Fault, faulty, influx_v2_stand_in, influxdb, victoria_metrics
from tests.processes import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.databases import Faulty

BOTH = pytest.mark.parametrize("api", [Api.INFLUXDB1, Api.INFLUXDB2])
LINE = b"m,a=b v=1 1795000000000000000"


@contextlib.asynccontextmanager
async def sink(**settings: object) -> AsyncIterator[InfluxSink]:
    """A sink, closed at the end."""
    made = InfluxSink(InfluxSettings(**({"name": "db", "api": Api.INFLUXDB1, "timeout_s": 10.0} | settings)))
    try:
        yield made
    finally:
        await made.close()


async def failure(
    api: Api, *script: Answer | Fault, timeout_s: float = 10.0
) -> tuple[SinkUnavailable, Faulty]:
    """Write to a server that fails as told; return how it was said. The next write must succeed."""
    with faulty(*script) as server:
        async with sink(api=api, url=server.url, timeout_s=timeout_s) as db:
            with pytest.raises(SinkUnavailable) as said:
                await db.write([LINE])
            await db.write([LINE])
    assert server.bodies[-1] == LINE
    return said.value, server


@BOTH
@pytest.mark.parametrize(
    ("answer", "retry_after_s"),
    [
        (Answer(429, {"Retry-After": "7"}), 7.0),
        (Answer(503, {"Retry-After": "0.5"}), 0.5),
        (Answer(503, {"Retry-After": "soon"}), None),
        (Answer(503, {"Retry-After": "-1"}), None),
        (Answer(500), None),
        (Answer(502), None),
    ],
)
async def test_a_busy_or_broken_server_is_asked_again_when_it_wishes(
    api: Api, answer: Answer, retry_after_s: float | None
) -> None:
    """429, 503 and 5xx are for later, after Retry-After where it can be read; nothing was stored."""
    said, _ = await failure(api, answer)
    assert said.retry_after_s == retry_after_s
    assert not said.ambiguous
    assert str(answer.status) in str(said)


@BOTH
async def test_retry_after_may_be_a_date(api: Api) -> None:
    """It is read against the server's own date, never against our clock."""
    headers = {"Date": "Sun, 22 Nov 2026 06:00:00 GMT", "Retry-After": "Sun, 22 Nov 2026 06:01:30 GMT"}
    with faulty(Answer(503, headers)) as server:
        async with sink(api=api, url=server.url) as db:
            with pytest.raises(SinkUnavailable) as said:
                await db.write([LINE])
    assert said.value.retry_after_s == 90.0


@BOTH
async def test_no_answer_and_a_cut_are_ambiguous(api: Api) -> None:
    """The request was sent, so its points may be stored."""
    hung, _ = await failure(api, Fault.HANG, timeout_s=0.3)
    assert hung.ambiguous
    assert "0.3 s" in str(hung)
    cut, _ = await failure(api, Fault.CUT)
    assert cut.ambiguous


@BOTH
async def test_a_refused_connection_is_not_ambiguous(api: Api) -> None:
    """Nothing was sent; the hint says where to look."""
    async with sink(api=api, url=f"http://127.0.0.1:{free_port()}") as db:
        with pytest.raises(SinkUnavailable) as said:
            await db.write([LINE])
    assert not said.value.ambiguous
    assert "running" in said.value.hint


@BOTH
@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "token"), (403, "right to write into ecluse"), (404, "create ecluse"), (302, "address")],
)
async def test_what_only_a_person_can_mend_has_a_hint_and_a_long_wait(
    api: Api, status: int, hint: str
) -> None:
    """Credentials, the bucket, the address: retried slowly."""
    said, _ = await failure(api, Answer(status, {"Location": "http://example.invalid/"}))
    assert hint in said.hint
    assert said.retry_after_s == 60.0


async def test_secrets_are_not_shown() -> None:
    """Neither the settings nor an error show the token."""
    token = str(uuid.uuid4())
    settings = InfluxSettings(name="db", api=Api.INFLUXDB2, url="http://127.0.0.1:1", token=token)
    assert token not in repr(settings)
    async with sink(api=Api.INFLUXDB2, url="http://127.0.0.1:1", token=token) as db:
        with pytest.raises(SinkUnavailable) as said:
            await db.write([LINE])
    assert token not in f"{said.value} {said.value.hint} {said.value!r}"


@BOTH
async def test_requests_are_bounded_in_bytes(api: Api) -> None:
    """Entries are joined up to the bound; a larger one is split by lines, in order."""
    with faulty() as server:
        async with sink(api=api, url=server.url, max_body=65) as db:
            await db.write([LINE, LINE, LINE, b"\n".join([b"x v=1 1"] * 20), LINE])
    assert all(len(body) <= 65 for body in server.bodies)
    assert b"\n".join(server.bodies) == b"\n".join([LINE] * 3 + [b"x v=1 1"] * 20 + [LINE])
    assert server.bodies[0] == LINE + b"\n" + LINE


@BOTH
async def test_a_great_write_is_many_usual_requests(api: Api) -> None:
    """By default no request is over a megabyte: a larger one holds the loop up."""
    body = b"\n".join([LINE] * 100_000)
    with faulty() as server:
        async with sink(api=api, url=server.url) as db:
            await db.write([body, LINE])
    assert max(len(sent) for sent in server.bodies) <= 1_000_000
    assert b"\n".join(server.bodies) == body + b"\n" + LINE


@BOTH
async def test_gzip_is_an_option(api: Api) -> None:
    """For slow lines."""
    with faulty() as server:
        async with sink(api=api, url=server.url, gzip=True) as db:
            await db.write([LINE])
    assert gzip.decompress(server.bodies[0]) == LINE


@pytest.mark.influxdb
async def test_a_request_that_is_too_large_is_split(tmp_path: Path) -> None:
    """413 by real InfluxDB: everything is stored in smaller requests, and later ones are smaller at once."""
    lines = [b"m,a=b v=%d %d" % (i, 1_795_000_000_000_000_000 + i) for i in range(20_000)]
    with influxdb(tmp_path, max_body=100_000) as influx:
        async with sink(url=influx.url) as db:
            await db.write([b"\n".join(lines)])
            assert influx.query("SELECT count(v) FROM m")[0]["count"] == 20_000
            assert db._max_body < 400_000


@pytest.mark.influxdb
async def test_a_missing_database_is_made_where_asked_for(tmp_path: Path) -> None:
    """InfluxDB 1: by the check, or by the first write; any name."""
    with influxdb(tmp_path) as influx:
        for name in ('by "check"', "by write"):
            async with sink(url=influx.url, bucket=name, create=True) as db:
                if "check" in name:
                    assert "1.6" in await db.check()
                await db.write([LINE])
            assert influx.query("SELECT v FROM m", name)[0]["v"] == 1


@pytest.mark.influxdb
async def test_user_and_password_of_influxdb_1(tmp_path: Path) -> None:
    """The right ones write; wrong ones are told."""
    password = str(uuid.uuid4())
    with influxdb(tmp_path, auth=True) as influx:
        influx.query(f"CREATE USER boss WITH PASSWORD '{password}' WITH ALL PRIVILEGES")
        async with sink(url=influx.url, username="boss", token=password, create=True) as db:
            await db.check()
            await db.write([LINE])
        async with sink(url=influx.url, username="boss", token="wrong") as db:  # noqa: S106 - it is wrong
            with pytest.raises(SinkUnavailable) as said:
                await db.check()
    assert "401" in str(said.value)


@pytest.mark.influxdb
async def test_a_renewed_token_is_in_the_next_request(tmp_path: Path) -> None:
    """Of both clients: nothing that was opened with the old one is used again."""
    token = str(uuid.uuid4())
    with influxdb(tmp_path) as influx, influx_v2_stand_in(influx, token=token) as url:
        async with sink(api=Api.INFLUXDB2, org="city", url=url, token="old") as db:  # noqa: S106 - it is wrong
            with pytest.raises(SinkUnavailable):
                await db.check()
            with pytest.raises(SinkUnavailable):
                await db.write([LINE])
            db.renew(username="", token=token)
            await db.write([LINE])
            assert "stand-in" in await db.check()


@pytest.mark.influxdb
async def test_bucket_organisation_and_token_of_influxdb_2(tmp_path: Path) -> None:
    """Each wrong one is told by the check already."""
    token = str(uuid.uuid4())
    right = {"api": Api.INFLUXDB2, "org": "city", "bucket": "ecluse", "token": token}
    with influxdb(tmp_path) as influx, influx_v2_stand_in(influx, token=token) as url:
        async with sink(url=url, **right) as db:
            assert "stand-in" in await db.check()
        for wrong in ("org", "bucket", "token"):
            async with sink(url=url, **(right | {wrong: "wrong"})) as db:
                with pytest.raises(SinkUnavailable):
                    await db.check()


@pytest.mark.influxdb
@BOTH
async def test_many_guilty_lines_of_several_kinds_are_told_apart(tmp_path: Path, api: Api) -> None:
    """No fields, no number, another type, a time out of range, a key too long: the others are stored."""
    good = [b"m,n=%d v=1 %d" % (i, 1_795_000_000_000_000_000 + i) for i in range(3_000)]
    bad = [b"m", b"m v=", b'm v="text" 5', b"m v=1 99999999999999999999", b"m,t=%b v=1 1" % (b"x" * 70_000)]
    lines = list(good)
    for place, line in zip((0, 700, 1_500, 2_200, 3_004), bad, strict=True):
        lines.insert(place, line)
    token = str(uuid.uuid4())
    with influxdb(tmp_path) as influx, influx_v2_stand_in(influx, token=token) as url:
        influx.write(b"m v=1 1")
        where = influx.url if api is Api.INFLUXDB1 else url
        async with sink(api=api, url=where, org="city", token=token) as db:
            with pytest.raises(PointsRejected) as refused:
                await db.write([b"\n".join(lines)])
        assert {line for line, _ in refused.value.lines} == set(bad)
        assert all(len(reason) < 400 for _, reason in refused.value.lines)
        assert influx.query("SELECT count(v) FROM m WHERE time > 100")[0]["count"] == 3_000


@pytest.mark.influxdb
async def test_an_ambiguous_write_repeated_is_stored_once(tmp_path: Path) -> None:
    """The server stored it and the answer was lost: sending it again changes nothing."""
    with influxdb(tmp_path) as influx, faulty(Fault.STORE_AND_CUT, forward=influx.url) as between:
        async with sink(url=between.url) as db:
            with pytest.raises(SinkUnavailable) as said:
                await db.write([LINE])
            assert said.value.ambiguous
            assert len(influx.query("SELECT * FROM m")) == 1
            await db.write([LINE])
        assert len(influx.query("SELECT * FROM m")) == 1


@pytest.mark.victoriametrics
async def test_victoriametrics_takes_every_tag(tmp_path: Path) -> None:
    """It refuses lines silently, so its own count of them must stay 0: tags read back as carried."""
    texts = ["a,b", "a b", "a=b", "\\", "a\\,b", "\\\\ x", 'q"q', "é🚲", "\n", "x\\", "C:\\dir", " "]
    n = len(texts)
    tags = [(("t", text),) for text in texts]
    value = Column(FieldType.FLOAT, np.arange(n) + 0.5)
    times = np.full(n, 1_795_000_000_000_000_000)
    points = Points("m", tags, np.arange(n, dtype=np.int32), times, {"v": value})
    with victoria_metrics(tmp_path) as store:
        async with sink(api=Api.VICTORIAMETRICS, url=store.url) as db:
            assert not db.overwrites
            await db.write([line_protocol.encode(points, strings=False)])
        kept = sorted(line_protocol.carried(text) for text in texts)
        wait_until(
            lambda: len(store.export('{__name__="m_v"}')) == len(set(kept)), within_s=10, what="series"
        )
        found = sorted(str(series["metric"]["t"]) for series in store.export('{__name__="m_v"}'))
        assert found == sorted(set(kept))
        assert store.counter("vm_rows_invalid_total") == 0
