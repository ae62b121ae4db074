"""Profiles over HTTP: those in force, and what changes the folder that they come from."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.ports import Profiles

MOST = 1_200_000
"""Bytes of a profile with its codec."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class ProfileAnswers:
    """What the routes under /api/profiles answer."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    async def all(self, _request: Request) -> Response:
        """Name, version, family and topics of each profile in force."""
        told = {
            plan.name: {"version": plan.version, "family": plan.family, "topics": list(plan.topics)}
            for plan in self._profiles.texts().values()
        }
        return JSONResponse({"profiles": told})

    async def one(self, request: Request) -> Response:
        """The whole text of a profile in force."""
        plan = self._profiles.texts().get(request.path_params["name"])
        if plan is None:
            return _unknown(request)
        return Response(plan.text, media_type="application/yaml")

    async def put(self, request: Request) -> Response:
        """Write a profile: 200 with its version, or 422 with every problem. In force seconds later."""
        name = request.path_params["name"]
        if _NAME.fullmatch(name) is None:
            said = {"error": f"«{name[:80]}» is no name of a profile", "hint": "such as acme-bin"}
            return JSONResponse(said, status_code=400)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MOST:
                return JSONResponse({"error": f"more than {MOST} bytes", "hint": ""}, status_code=413)
        try:
            done = await asyncio.to_thread(self._profiles.put, name, bytes(body))
        except OSError as error:
            return _failed(error)
        if done.problems:
            return JSONResponse({"problems": [asdict(problem) for problem in done.problems]}, status_code=422)
        return JSONResponse({"profile": name, "version": done.version})

    async def delete(self, request: Request) -> Response:
        """Take a profile out of the folder; its file stays there, renamed."""
        try:
            gone = await asyncio.to_thread(self._profiles.remove, request.path_params["name"])
        except OSError as error:
            return _failed(error)
        return JSONResponse({"removed": request.path_params["name"]}) if gone else _unknown(request)


def _unknown(request: Request) -> Response:
    what = f"no profile is called «{request.path_params['name'][:80]}»"
    return JSONResponse({"error": what, "hint": "GET /api/profiles lists them"}, status_code=404)


def _failed(error: OSError) -> Response:
    what = f"the folder of profiles cannot be written: {error.strerror}"
    hint = "give the gateway's user the right to write it, or put the file there yourself"
    return JSONResponse({"error": what, "hint": hint}, status_code=503)
