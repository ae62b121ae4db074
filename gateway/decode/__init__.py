"""Decoding: bytes of uplinks become columns of readings. Pure: no clock, no file, no socket."""
