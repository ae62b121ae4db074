"""Asks a running gateway over its HTTP."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

from gateway import config
from gateway.api.address import ADDRESS_FILE
from gateway.cli.failures import Unreachable
from gateway.errors import QueryError
from gateway.literals import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_S = 60
"""A question over a year of readings takes a while."""


class Client:
    """One gateway. Answers are bytes or JSON."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        self._token = token
        # A gateway is asked directly, whatever proxy the environment names.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @classmethod
    def of(cls, settings: config.Settings) -> Client:
        """Return a client of the gateway that runs with these settings."""
        written = settings.state_dir / ADDRESS_FILE
        host = settings.http.host if is_loopback(settings.http.host) else "127.0.0.1"
        url = f"http://{host}:{settings.http.port}"
        if written.is_file():
            url = written.read_text(encoding="utf-8").strip()
        return cls(url, config.secret(settings.http.token, settings.http.token_file))

    def get(self, path: str, asked: Mapping[str, str] | None = None) -> bytes:
        """Return an answer's body. Raises Unreachable (nobody answers) or QueryError (refused, with why)."""
        return self._answer("GET", path, asked, TIMEOUT_S)

    def post(self, path: str, asked: Mapping[str, str] | None = None, *, timeout_s: float = TIMEOUT_S) -> Any:  # noqa: ANN401 - JSON is anything
        """Have something done; return what JSON says of it. Raises as `get`."""
        return self._read(self._answer("POST", path, asked, timeout_s))

    def _answer(self, method: str, path: str, asked: Mapping[str, str] | None, timeout_s: float) -> bytes:
        query = f"?{urllib.parse.urlencode(asked)}" if asked else ""
        request = urllib.request.Request(f"{self.url}{path}{query}", method=method)  # noqa: S310 - http:// only, above
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=timeout_s) as answer:
                body: bytes = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error.code, error.read()) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            hint = "start it with: ecluse run --config FILE"
            raise Unreachable(f"no gateway answers at {self.url}", hint=hint) from error
        return body

    def json(self, path: str, asked: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON is anything
        """Return an answer's JSON."""
        return self._read(self.get(path, asked))

    def _read(self, body: bytes) -> Any:  # noqa: ANN401 - JSON is anything
        try:
            return json.loads(body)
        except ValueError as error:
            hint = "is another program listening there? see port under [http]"
            raise Unreachable(f"what answers at {self.url} is no gateway", hint=hint) from error


def _refusal(code: int, body: bytes) -> QueryError:
    try:
        told = json.loads(body)
        return QueryError(str(told["error"]), hint=str(told.get("hint", "")))
    except (ValueError, KeyError, TypeError):
        hint = "set ECLUSE_HTTP__TOKEN, or token_file under [http]" if code == 401 else ""
        return QueryError(
            f"the gateway answered {code}: {body[:200].decode(errors='replace').strip()}", hint=hint
        )
