"""What the sessions of all encodings do alike: judge readings, and note what could not be used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ext_proc.session.model import Delivery, Undecodable
from ext_proc.session.rejections import Rejections
from wire.journal import Verdict

_REASONS = {verdict: verdict.name.lower() for verdict in Verdict}


def note_undecodable(deliveries: list[Delivery], rejections: Rejections, item: Undecodable) -> None:
    """Deliver and count `item`, together with the last delivery if that says the same of the same stream."""
    rejections.add(item.reason, item.frames, item.epoch, item.offset, item.head)
    last = deliveries[-1] if deliveries else None
    if isinstance(last, Undecodable) and (last.reason, last.epoch) == (item.reason, item.epoch):
        deliveries[-1] = replace(
            last, frames=last.frames + item.frames, byte_count=last.byte_count + item.byte_count
        )
    else:
        deliveries.append(item)


def quarantined(verdict: NDArray[np.uint8]) -> list[tuple[str, int, int]]:
    """Return (reason, readings, index of the first of them) for each verdict but OK."""
    found = []
    for code, count in enumerate(np.bincount(verdict).tolist()):
        if count and code != Verdict.OK:
            found.append((_REASONS[Verdict(code)], count, int(np.argmax(verdict == code))))
    return found
