"""One MQTT connection of simulated devices: paho-mqtt driven by asyncio, without a thread of its own.

paho keeps what the broker has not acknowledged and sends it again (with DUP) after a reconnect; what
goes beyond the window waits here. Callbacks of paho only note what happened: paho holds a lock while
it calls them.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paho.mqtt.client import ConnectFlags, DisconnectFlags, SocketLike
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

KEEPALIVE_S = 30
ANSWER_S = 10.0
FIRST_DELAY_S, LAST_DELAY_S = 0.2, 10.0
REFUSALS = frozenset({"Bad user name or password", "Not authorized", "Bad username or password", "Banned"})


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the simulated devices connect, and as whom."""

    host: str = "127.0.0.1"
    port: int = 1883
    version: int = 4
    """4 = MQTT 3.1.1, 5 = MQTT 5."""
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class Connection:
    """Publishes at QoS 1 with up to `window` messages in flight; reconnects by itself until closed."""

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        *,
        window: int,
        acknowledged: Callable[[int], None],
        resent: Callable[[list[int]], None],
    ) -> None:
        self.client_id = client_id
        self.error = ""
        self.refused = False
        self.connected = asyncio.Event()
        self._broker, self._window, self._quota = broker, window, window
        self._acknowledged, self._resent = acknowledged, resent
        self._pending: deque[tuple[int, str, bytes]] = deque()
        self._flying: dict[int, int] = {}
        self._lost = asyncio.Event()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._client = self._make_client()

    def send(self, n: int, topic: str, payload: bytes) -> None:
        """Publish message `n` as soon as the window and the connection allow it."""
        self._pending.append((n, topic, payload))
        self._pump()

    async def keep(self, gate: asyncio.Semaphore) -> None:
        """Stay connected until `close`; `gate` bounds how many connections are made at once."""
        delay = FIRST_DELAY_S
        while not self._closing:
            async with gate:
                opened = await self._open()
            if opened:
                delay = FIRST_DELAY_S
                await self._lost.wait()
            if not self._closing:
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = LAST_DELAY_S if self.refused else min(2 * delay, LAST_DELAY_S)

    def tick(self) -> None:
        """Let paho see to its keep-alive; to be called about once a second."""
        self._client.loop_misc()

    async def close(self) -> None:
        """Say goodbye to the broker."""
        self._closing = True
        if self.connected.is_set():
            self._client.disconnect()
            await asyncio.wait({asyncio.ensure_future(self._lost.wait())}, timeout=2)
        self._lost.set()

    def _make_client(self) -> Client:
        broker = self._broker
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            clean_session=None if broker.version == MQTTv5 else True,
            protocol=MQTTv5 if broker.version == MQTTv5 else MQTTv311,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(0)  # the window is kept here, where it can follow the broker's
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        if broker.tls:
            client.tls_set(
                ca_certs=_text(broker.ca_file), certfile=_text(broker.certificate), keyfile=_text(broker.key)
            )
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write
        return client

    async def _open(self) -> bool:
        """Connect once; tell whether the broker took us. `error` says why not."""
        self._lost.clear()
        again = list(self._flying.values())
        try:
            await asyncio.to_thread(self._dial)
        except (OSError, ValueError) as error:
            self.error = f"{self._broker.host}:{self._broker.port}: {error}"
            return False
        sock = self._client.socket()
        if sock is None:
            self.error = f"{self._broker.host}:{self._broker.port}: the connection was closed at once"
            return False
        self._loop.add_reader(sock.fileno(), self._readable)
        self._loop.add_writer(sock.fileno(), self._writable)
        answers = [asyncio.ensure_future(event.wait()) for event in (self.connected, self._lost)]
        await asyncio.wait(answers, timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        for answer in answers:
            answer.cancel()
        if not self.connected.is_set():
            self.error = self.error or f"{self._broker.host}:{self._broker.port}: no answer to CONNECT"
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            return False
        if again:
            self._resent(again)
        self._pump()
        return True

    def _dial(self) -> None:
        if self._broker.version == MQTTv5:
            self._client.connect(self._broker.host, self._broker.port, KEEPALIVE_S, clean_start=True)
        else:
            self._client.connect(self._broker.host, self._broker.port, KEEPALIVE_S)

    def _pump(self) -> None:
        if not self.connected.is_set():
            return
        while self._pending and len(self._flying) < self._quota:
            n, topic, payload = self._pending.popleft()
            info = self._client.publish(topic, payload, qos=1)
            if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:  # its packet identifier is still in use
                self._pending.appendleft((n, topic, payload))
                return
            self._flying[info.mid] = n

    def _readable(self) -> None:
        self._client.loop_read()
        sock = self._client.socket()
        while isinstance(sock, ssl.SSLSocket) and sock.pending():
            self._client.loop_read()
            sock = self._client.socket()
        self._pump()

    def _writable(self) -> None:
        self._client.loop_write()

    def _on_connect(
        self,
        _client: Client,
        _data: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self.refused = reason.is_failure and str(reason) in REFUSALS
        self.error = f"the broker refused {self.client_id}: {reason}" if reason.is_failure else ""
        if reason.is_failure:
            return
        maximum = getattr(properties, "ReceiveMaximum", None)  # paho sets it only where the broker did
        self._quota = min(self._window, maximum or self._window)
        self.connected.set()

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self.connected.clear()
        self.error = self.error or f"connection lost: {reason}"
        self._lost.set()

    def _on_publish(
        self, _client: Client, _data: object, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        n = self._flying.pop(mid, None)
        if n is None:
            return
        if reason.is_failure:
            self.error = f"the broker refused a message of {self.client_id}: {reason}"
        self._acknowledged(n if not reason.is_failure else -1)

    def _on_socket_close(self, _client: Client, _data: object, sock: SocketLike) -> None:
        if threading.get_ident() == self._thread:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())

    def _on_register_write(self, _client: Client, _data: object, sock: SocketLike) -> None:
        # While it dials, paho is in another thread: `_open` adds the writer once it is back.
        if threading.get_ident() == self._thread:
            self._loop.add_writer(sock.fileno(), self._writable)

    def _on_unregister_write(self, _client: Client, _data: object, sock: SocketLike) -> None:
        if threading.get_ident() == self._thread:
            self._loop.remove_writer(sock.fileno())


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
