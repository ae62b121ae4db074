"""Where a running gateway says how it is reached."""

from __future__ import annotations

ADDRESS_FILE = "http.address"
"""Where a gateway writes its own address, in its state folder: its port may be a free one."""
