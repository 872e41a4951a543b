"""What the Power BI sink must be told."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ext_proc.sinks.powerbi.budget import MAX_POSTS_PER_MINUTE, MAX_ROWS_PER_HOUR, MAX_ROWS_PER_POST, Limits

_NS = 1_000_000_000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

# In URL paths; ids are UUIDs, a tenant may be a domain.
_PathSegment = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=128)]
_Url = Annotated[str, Field(pattern=r"^https?://[^/?#@]+[^?#@]*$")]


class PowerBiTarget(BaseModel):
    """A push semantic model in a workspace, and the service principal that writes to it.

    Attributes:
        workspace: Id of the workspace.
        dataset: Id of the semantic model; it has `table` with the columns of powerbi.rows.COLUMNS.
        dataset_name: Instead of an id: the model of this name is looked up, and created if it is missing.
        table: Name of the table.
        tenant: Id or domain of the Entra tenant.
        client_id: Id of the app registration.
        client_secret_env: Environment variable that holds the client secret, or
        client_secret_file: the file that holds it. Read anew for every token, so that it can be replaced.
        base_url: Of the REST API; another one in national clouds.
        token_url: Of the token service; by default the tenant's at login.microsoftonline.com.
        window_sizes_ms: Windows of these sizes are delivered.
        rows_per_post: At most; less than the published limit where rows are long.
        posts_per_minute: At most; less than the published limit where others write to the model too.
        rows_per_hour: The same; 10,000 with a free licence.
        timeout_s: How long a request may take.
        stale_after_s: Windows that ended longer ago are given up first when there is no room for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["powerbi"] = "powerbi"
    workspace: _PathSegment
    dataset: _PathSegment | None = None
    dataset_name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    table: Annotated[str, Field(pattern=r"^[A-Za-z0-9_ ]+$", max_length=100)] = "windows"
    tenant: _PathSegment
    client_id: _PathSegment
    client_secret_env: Annotated[str, Field(min_length=1)] | None = None
    client_secret_file: Annotated[str, Field(min_length=1)] | None = None
    base_url: _Url = "https://api.powerbi.com"
    token_url: _Url | None = None
    window_sizes_ms: Annotated[tuple[int, ...], Field(min_length=1)] = (10_000,)
    rows_per_post: Annotated[int, Field(ge=1, le=MAX_ROWS_PER_POST)] = MAX_ROWS_PER_POST
    posts_per_minute: Annotated[int, Field(ge=2, le=MAX_POSTS_PER_MINUTE)] = MAX_POSTS_PER_MINUTE
    rows_per_hour: Annotated[int, Field(ge=100, le=MAX_ROWS_PER_HOUR)] = MAX_ROWS_PER_HOUR
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 30.0
    stale_after_s: Annotated[float, Field(gt=0)] = 300.0

    @model_validator(mode="after")
    def _exactly_one(self) -> PowerBiTarget:
        if (self.dataset is None) == (self.dataset_name is None):
            raise ValueError("exactly one of dataset and dataset_name must be given")
        if (self.client_secret_env is None) == (self.client_secret_file is None):
            raise ValueError("exactly one of client_secret_env and client_secret_file must be given")
        for name, url in (("base_url", self.base_url), ("token_url", self.tokens_from)):
            parts = urlsplit(url)
            if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
                raise ValueError(f"{name} must be https: secrets travel to it")
        return self

    @property
    def tokens_from(self) -> str:
        """The token service's URL."""
        return self.token_url or f"https://login.microsoftonline.com/{self.tenant}/oauth2/v2.0/token"

    def limits(self) -> Limits:
        """Return what the budget keeps to; a POST is under way no longer than its timeout."""
        return Limits(
            self.rows_per_post, self.posts_per_minute, self.rows_per_hour, grace_ns=int(self.timeout_s * _NS)
        )
