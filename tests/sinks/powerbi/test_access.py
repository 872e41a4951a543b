"""Tokens, permissions and names: what lets the sink write, and what it says when that is missing."""

from __future__ import annotations

import pytest

from ext_proc.sinks.errors import RetryableSinkError, TerminalSinkError
from ext_proc.sinks.powerbi.rows import COLUMNS
from ext_proc.sinks.powerbi.target import PowerBiSink
from tests.sinks.powerbi.support import (
    Opened,
    S,
    TurnedClock,
    chunk,
    configure,
    windows_dataset,
)
from tests.support.powerbi import PowerBiDouble
from tests.support.powerbi_limits import Dataset


def tokens(service: PowerBiDouble) -> int:
    """Return how often the service was asked for a token."""
    return sum(line.endswith("/token") for line in service.requests)


async def test_one_token_serves_until_it_is_old(
    opened: Opened, service: PowerBiDouble, clock: TurnedClock
) -> None:
    """It is renewed before it expires, so that the service never sees an expired one."""
    service.token_lifetime_s = 1_000
    async with opened() as sink:
        for seq in range(1, 13):
            await sink.deliver([chunk([{}], seq=seq)])
            clock.now_ns += 250 * S
    assert tokens(service) == 3  # within 2,750 s, each used for at most 900
    assert len(service.requests) == 12 + 3 + 1


@pytest.mark.parametrize("as_403", [False, True])
async def test_a_token_that_the_service_takes_for_expired(
    opened: Opened, service: PowerBiDouble, as_403: bool
) -> None:
    """The POST goes again with a new one, and nobody notices."""
    service.expired_is_403 = as_403
    async with opened() as sink:
        await sink.deliver([chunk([{}])])
        service.tokens = dict.fromkeys(service.tokens, 0.0)
        assert (await sink.deliver([chunk([{}], seq=2)])).rows == 1
    assert tokens(service) == 2


async def test_a_new_token_that_is_refused_too(opened: Opened, service: PowerBiDouble) -> None:
    """One renewal, then the error says what to do."""
    async with opened() as sink:
        service.tokens.clear()
        service.token_lifetime_s = 0.0
        with pytest.raises(TerminalSinkError, match="Service principals can use Power BI APIs"):
            await sink.deliver([chunk([{}])])
    assert tokens(service) == 2


async def test_a_token_service_that_is_busy(opened: Opened, service: PowerBiDouble) -> None:
    """No token now is retryable; a wrong secret is not."""
    async with opened() as sink:
        service.tokens.clear()
        service.token_refusal = (503, "temporarily_unavailable")
        with pytest.raises(RetryableSinkError, match="answered 503: no token now"):
            await sink.deliver([chunk([{}])])
        service.token_refusal = (401, "invalid_client")
        with pytest.raises(TerminalSinkError, match="the client secret is wrong"):
            await sink.deliver([chunk([{}])])
        service.token_refusal = None
        assert (await sink.deliver([chunk([{}])])).rows == 1


async def test_a_principal_without_access(opened: Opened, service: PowerBiDouble) -> None:
    """The sentence names the tenant setting and the workspace."""
    async with opened() as sink:
        service.allowed = False
        with pytest.raises(TerminalSinkError) as caught:
            await sink.deliver([chunk([{}])])
    assert "Service principals can use Power BI APIs" in caught.value.reason
    assert service.workspace in caught.value.reason
    assert service.client_id in caught.value.reason


async def test_names_that_are_not_there(opened: Opened, service: PowerBiDouble, dataset: Dataset) -> None:
    """An unknown dataset is found at the start, an unknown table with the first rows."""
    with pytest.raises(TerminalSinkError, match="shows no dataset other to the service principal"):
        async with opened(dataset="other"):
            pass
    with pytest.raises(TerminalSinkError, match="does not know any dataset in workspace elsewhere"):
        async with opened(workspace="elsewhere"):
            pass
    async with opened(table="other") as sink:
        with pytest.raises(TerminalSinkError, match=f"does not know dataset {dataset.dataset_id} with the"):
            await sink.deliver([chunk([{}])])


async def test_a_table_with_other_columns(service: PowerBiDouble, clock: TurnedClock) -> None:
    """The service's words say which column, ours what the table must be."""
    other = service.add_dataset("other", {"windows": {**COLUMNS, "mean": "String"}})
    sink = PowerBiSink(configure(service, other), clock)
    await sink.start()
    with pytest.raises(TerminalSinkError, match=r"400 InvalidValue mean: .* with our columns"):
        await sink.deliver([chunk([{}])])
    await sink.close()


async def test_a_model_is_created_once(service: PowerBiDouble, clock: TurnedClock) -> None:
    """With a name instead of an id the first start creates it, with basicFIFO; later ones find it."""
    for seq in (1, 2):
        sink = PowerBiSink(configure(service, None, dataset_name="gaugeway"), clock)
        await sink.start()
        assert (await sink.deliver([chunk([{}], seq=seq)])).rows == 1
        await sink.close()
    (created,) = service.datasets.values()
    assert (created.name, created.fifo) == ("gaugeway", True)
    assert len(created.tables["windows"].rows()) == 2


async def test_a_model_that_is_made_anew(service: PowerBiDouble, clock: TurnedClock) -> None:
    """When the model is deleted the error says so; the next try finds or creates its successor."""
    sink = PowerBiSink(configure(service, None, dataset_name="gaugeway"), clock)
    await sink.start()
    service.datasets.clear()
    with pytest.raises(TerminalSinkError, match="does not know dataset"):
        await sink.deliver([chunk([{}])])
    assert (await sink.deliver([chunk([{}])])).rows == 1
    assert len(service.datasets) == 1
    await sink.close()


async def test_a_name_that_two_models_have(service: PowerBiDouble, clock: TurnedClock) -> None:
    """Nobody guesses which is meant."""
    windows_dataset(service)
    windows_dataset(service)
    sink = PowerBiSink(configure(service, None, dataset_name="gaugeway"), clock)
    with pytest.raises(TerminalSinkError, match="2 datasets named 'gaugeway': give the id of one"):
        await sink.start()
    await sink.close()
