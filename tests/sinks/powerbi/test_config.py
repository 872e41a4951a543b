"""What the sink may be told."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ext_proc.sinks.powerbi.config import PowerBiTarget

GOOD: dict[str, object] = {
    "workspace": "f089354e-8366-4e18-aea3-4cb4a3a50b48",
    "dataset": "cfafbeb1-8037-4d0c-896e-a46fb27ff229",
    "tenant": "contoso.onmicrosoft.com",
    "client_id": "5b1c2d3e-0000-0000-0000-000000000000",
    "client_secret_env": "POWERBI_SECRET",
}


def test_defaults() -> None:
    """Microsoft's public cloud, 10 s windows, the published limits."""
    config = PowerBiTarget.model_validate(GOOD)
    assert config.base_url == "https://api.powerbi.com"
    assert config.tokens_from == "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token"
    assert config.window_sizes_ms == (10_000,)
    limits = config.limits()
    assert (limits.rows_per_post, limits.posts_per_minute, limits.rows_per_hour) == (10_000, 120, 1_000_000)
    assert limits.grace_ns == 30_000_000_000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dataset_name": "gaugeway"}, "exactly one of dataset and dataset_name"),
        ({"dataset": None}, "exactly one of dataset and dataset_name"),
        ({"client_secret_file": "/run/secret"}, "exactly one of client_secret_env and client_secret_file"),
        ({"client_secret_env": None}, "exactly one of client_secret_env and client_secret_file"),
        ({"base_url": "http://api.powerbi.com"}, "base_url must be https: secrets travel to it"),
        ({"token_url": "http://login.example.com/token"}, "token_url must be https"),
        ({"token_url": "https://user:word@login.example.com/token"}, "token_url"),
        ({"workspace": "a/../b"}, "workspace"),
        ({"table": "a/b"}, "table"),
        ({"rows_per_post": 10_001}, "rows_per_post"),
        ({"posts_per_minute": 121}, "posts_per_minute"),
        ({"rows_per_hour": 1_000_001}, "rows_per_hour"),
        ({"window_sizes_ms": []}, "window_sizes_ms"),
        ({"client_secret": "never in a file of configuration"}, "client_secret"),
    ],
)
def test_errors_name_the_field(changes: dict[str, object], sentence: str) -> None:
    """A bad configuration says which field, and by which rule."""
    with pytest.raises(ValidationError) as caught:
        PowerBiTarget.model_validate({**GOOD, **changes})
    assert sentence in str(caught.value)


def test_plain_http_on_this_machine() -> None:
    """A double or a proxy on the loopback address needs no TLS."""
    changes = {"base_url": "http://127.0.0.1:1", "token_url": "http://localhost:2/token"}
    PowerBiTarget.model_validate({**GOOD, **changes})
