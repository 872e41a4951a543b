"""Which session reads a body: by the content type of the response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ext_proc.session.cursor import SensorCursor
from ext_proc.session.model import SensorProfile
from ext_proc.session.senml import SenmlSession
from ext_proc.session.session import Session
from wire.names import FRAMES_CONTENT_TYPE, SENML_CONTENT_TYPE, SENSML_CONTENT_TYPE

AnySession = Session | SenmlSession

CONTENT_TYPES: Final = (FRAMES_CONTENT_TYPE, SENSML_CONTENT_TYPE, SENML_CONTENT_TYPE)
ACCEPT: Final = f"{FRAMES_CONTENT_TYPE}, {SENSML_CONTENT_TYPE};q=0.9, {SENML_CONTENT_TYPE};q=0.8"


def open_session(
    content_type: str, profile: SensorProfile, cursor: SensorCursor, new_epoch: Callable[[], int]
) -> AnySession | None:
    """Return a session for a body of `content_type`, whose parameters are ignored; None if none reads it.

    `new_epoch` names a stream whose device has no epochs of its own.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == FRAMES_CONTENT_TYPE:
        return Session(profile, cursor)
    if media_type in {SENML_CONTENT_TYPE, SENSML_CONTENT_TYPE}:
        streaming = media_type == SENSML_CONTENT_TYPE
        return SenmlSession(profile, cursor, new_epoch(), streaming=streaming)
    return None
