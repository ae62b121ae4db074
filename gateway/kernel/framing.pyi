def deliveries(
    data: bytes,
    level: int,
    max_packet: int,
    max_count: int,
    topics: list[bytes],
    payloads: list[bytes],
    headers: bytearray,
    ids: list[int],
    released: list[int],
    release_places: list[int],
) -> int: ...
