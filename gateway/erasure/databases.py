"""Deleting points from the databases, through their own interfaces."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.clock import SystemClock
from gateway.errors import ConfigurationError, SinkUnavailable
from gateway.plumbing import build_sinks
from gateway.sinks.influx import InfluxSink
from gateway.sinks.mqtt import MqttSink

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.sinks.erasing import Which


def erase(settings: Settings, which: Which, done: dict[str, str], problems: list[str]) -> None:
    """Delete from every database of the settings; add what became of it, and what could not be done.

    A sink's secret that cannot be read is such a thing: the files are done by then.
    """
    try:
        asyncio.run(_erase(settings, which, done, problems))
    except ConfigurationError as error:
        problems += [f"no database was asked: {problem}" for problem in error.problems]


async def _erase(settings: Settings, which: Which, done: dict[str, str], problems: list[str]) -> None:
    for name, sink in build_sinks(settings, SystemClock()).items():
        try:
            if isinstance(sink, InfluxSink):
                if await sink.erase(which):
                    done[name] = "deleted"
                else:
                    done[name] = "not deleted: this kind of database has no call for it"
                    problems.append(f"{name}: delete these points by the database's own means")
            elif isinstance(sink, MqttSink):
                done[name] = "not deleted: who listened may have kept them"
        except SinkUnavailable as error:
            done[name] = "not deleted"
            problems.append(f"{error}" + (f" ({error.hint})" if error.hint else ""))
        finally:
            await sink.close()
