"""Profiles, batches and routes for the tests of decoding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.decode.routes import Routes
from gateway.model import Device, RawBatch, SeriesTable
from gateway.profiles.compile import compile_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.profiles.plan import ProfilePlan

RECEIVED = 1_763_770_000_000_000_000
SHIPPED = Path(__file__).parents[2] / "device_profiles"


def shipped(name: str) -> ProfilePlan:
    """Compile a shipped profile."""
    return compile_text((SHIPPED / name / "profile.yaml").read_text(encoding="utf-8"), name=name)


def profile(body: str, *, name: str = "test", topic: str = "t/{site}/{device}") -> ProfilePlan:
    """Compile a profile from what stands below its heading."""
    heading = f'profile: {name}\nversion: 1\nfamily: waste\ntopics: ["{topic}"]\n'
    return compile_text(heading + body, name=name)


def routes(*plans: ProfilePlan, devices: Sequence[Device] = (), **limits: Any) -> Routes:
    """Build routes that accept unknown devices unless told otherwise."""
    settings: dict[str, Any] = {
        "accept_unknown": True,
        "max_unknown": 100_000,
        "max_series": 100_000,
        "tables": {},
        "texts": SeriesTable(),
    }
    return Routes(
        {plan.name: plan for plan in plans},
        {(device.site, device.id): device for device in devices},
        **(settings | limits),
    )


def device(
    identifier: str = "d",
    *,
    site: str = "s",
    profile: str = "test",
    parameters: Mapping[str, Any] | None = None,
) -> Device:
    """Make a device; a parameter is a value, or ((valid from, value), …)."""
    values = {
        name: value if isinstance(value, tuple) else ((0, value),)
        for name, value in (parameters or {}).items()
    }
    return Device(site=site, id=identifier, profile=profile, parameters=values)


def batch(
    *uplinks: tuple[str | bytes, Any],
    received: int = RECEIVED,
    headers: Sequence[int] | None = None,
    packet_ids: Sequence[int] | None = None,
    session: str = "gateway",
) -> RawBatch:
    """Make a batch of (topic, payload); a payload that is not bytes becomes JSON."""
    topics = [topic if isinstance(topic, bytes) else topic.encode() for topic, _ in uplinks]
    payloads = [
        payload if isinstance(payload, bytes) else json.dumps(payload).encode() for _, payload in uplinks
    ]
    count = len(uplinks)
    return RawBatch(
        source="broker",
        connection=1,
        session=session,
        protocol=5,
        received_ns=received,
        frames=b"",
        topics=topics,
        payloads=payloads,
        headers=np.array([0x32] * count if headers is None else headers, dtype=np.uint8),
        packet_ids=np.array(range(1, count + 1) if packet_ids is None else packet_ids, dtype=np.uint16),
    )


def payloads(*bodies: Any, topic: str = "t/s/d", **how: Any) -> RawBatch:
    """Make a batch of payloads of one topic."""
    return batch(*((topic, body) for body in bodies), **how)
