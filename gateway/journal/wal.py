"""What SQLite does not say: that a WAL lost commits which had been synced.

SQLite reads a WAL up to its first bad checksum and takes the rest for a torn tail. Right after a
power cut; but where a bit has rotted, commits behind it vanish without an error. A later transaction
begins only after the one before was synced, so a bad one that others follow is damage, not a torn tail.

Format: https://www.sqlite.org/fileformat2.html, section 4.1.
"""

from __future__ import annotations

import struct

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
_PAGE_BYTES = struct.Struct(">8xI")
_COMMIT = struct.Struct(">4xI")


def lost_commits(wal: bytes, valid_frames: int) -> bool:
    """Tell whether commits that had been synced stand behind the valid frames of a WAL.

    `valid_frames` is what SQLite took: the second column of `PRAGMA wal_checkpoint`. Damage in the
    very last transaction cannot be told from a torn tail, and gives False.
    """
    if len(wal) < HEADER_BYTES:
        return False
    (page_bytes,) = _PAGE_BYTES.unpack_from(wal)
    salts = wal[16:24]
    step = FRAME_HEADER_BYTES + page_bytes
    committed = False
    for at in range(HEADER_BYTES + valid_frames * step, len(wal) - step + 1, step):
        if wal[at + 8 : at + 16] != salts:
            continue  # of an earlier generation, or damaged itself
        if committed:
            return True
        committed = _COMMIT.unpack_from(wal, at)[0] != 0
    return False
