"""The client secret and the tokens appear nowhere: no log, no error, no repr."""

from __future__ import annotations

import logging
import os
import traceback
from pathlib import Path

import pytest
import structlog

from ext_proc.sinks.errors import SinkError, TerminalSinkError
from ext_proc.sinks.powerbi.target import PowerBiSink
from ext_proc.sinks.powerbi.tokens import read_secret
from tests.sinks.powerbi.support import SECRET_VARIABLE, TurnedClock, chunk, configure, windows_dataset
from tests.support.powerbi import PowerBiDouble
from tests.support.powerbi_limits import RefusalError


async def _texts_of_failures(sink: PowerBiSink, service: PowerBiDouble) -> list[str]:
    """Return what can be read of the sink and of every sort of error that it raises."""
    texts = []

    async def failing(seq: int) -> None:
        with pytest.raises(SinkError) as caught:
            await sink.deliver([chunk([{}], seq=seq)])
        error = caught.value
        texts.extend([repr(error), str(error), "".join(traceback.format_exception(error))])
        texts.extend(repr(error.__cause__).splitlines())

    await sink.start()
    texts.extend([repr(vars(sink)), repr(sink)])
    (token,) = service.tokens
    service.scripted.extend(
        [RefusalError(status, "Echo", f"you sent Bearer {token}") for status in (400, 500, 429, 413)]
    )
    for seq in range(4):
        await failing(seq)
    service.allowed = False  # the double says back the token
    await failing(10)
    service.allowed = True
    service.applied_unanswered = 1
    await failing(11)
    service.tokens.clear()
    service.token_refusal = (401, "invalid_client")  # the double says back the secret
    await failing(12)
    service.token_refusal = (503, "temporarily_unavailable")
    await failing(13)
    return texts


async def test_secrets_appear_nowhere(
    service: PowerBiDouble, clock: TurnedClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Even when the service says them back, at every log level."""
    caplog.set_level(logging.DEBUG)
    config = configure(service, None, dataset_name="gaugeway")
    sink = PowerBiSink(config, clock)
    with structlog.testing.capture_logs() as logs:
        texts = await _texts_of_failures(sink, service)
        issued = list(service.tokens)
        await sink.close()
    everything = "\n".join([*texts, repr(config), config.model_dump_json(), repr(logs), caplog.text])
    assert "you sent Bearer ***" in everything
    assert "*** is not authorized" in everything
    assert any(entry["event"] == "dataset_created" for entry in logs)
    assert service.client_secret not in everything
    assert "t0ken." not in everything, issued


async def test_the_secret_of_a_file_can_be_replaced(
    service: PowerBiDouble, clock: TurnedClock, tmp_path: Path
) -> None:
    """It is read for every token: a wrong one is put right without a restart."""
    file = tmp_path / "secret"
    file.write_text("wrong\n")
    changes = {"client_secret_env": None, "client_secret_file": str(file)}
    sink = PowerBiSink(configure(service, windows_dataset(service), **changes), clock)
    with pytest.raises(TerminalSinkError, match="the client secret is wrong"):
        await sink.start()
    file.write_text(service.client_secret + "\n")
    await sink.start()
    assert (await sink.deliver([chunk([{}])])).rows == 1
    await sink.close()


async def test_a_secret_that_is_not_there(
    service: PowerBiDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error says where it was looked for."""
    config = configure(service, None, dataset_name="x")
    for value in ("", None):
        if value is None:
            monkeypatch.delenv(SECRET_VARIABLE)
        else:
            monkeypatch.setenv(SECRET_VARIABLE, value)
        with pytest.raises(TerminalSinkError, match=f"environment variable {SECRET_VARIABLE} must hold"):
            read_secret(config)
    assert SECRET_VARIABLE not in os.environ
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for file, sentence in ((tmp_path / "none", "cannot be read: No such file"), (binary, "is not text")):
        changes = {"client_secret_env": None, "client_secret_file": str(file)}
        with pytest.raises(TerminalSinkError, match=sentence):
            read_secret(configure(service, None, dataset_name="x", **changes))
