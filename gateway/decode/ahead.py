"""What vendors' codecs will be asked of some batches: so that it can be done before, aside. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.decode.formats.codec import work_of
from gateway.decode.uplinks import lay_out, topics_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.decode.routes import Routes
    from gateway.model import RawBatch
    from gateway.ports import CodecWork


def codec_work(batches: Sequence[RawBatch], routes: Routes) -> list[CodecWork]:
    """Return the payloads that codecs will be asked to decode; more than those, where some are duplicates."""
    with_codecs = {place: one for place, one in enumerate(routes.decoders) if one.plan.codec is not None}
    if not with_codecs or not batches:
        return []
    topics = topics_of(batches)
    uplinks = lay_out(batches, topics, routes.codes(topics))
    decoder_of = routes.decoder_of(uplinks.codes)
    work = []
    for place, decoder in with_codecs.items():
        index = np.flatnonzero(decoder_of == place)
        codec = decoder.plan.codec
        if len(index) and codec is not None:
            work.append(work_of(codec, decoder.frames(uplinks, index)))
    return work
