"""`gaugeway.toml`: what it may say, and how it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from ext_proc.sinks.config import AnyTarget
from gaugeway.settings import SettingsError, find_settings, load_settings

GOOD = """
shards = 4
preflight = false
[warehouse]
keep_days = 7
[bigquery]
project = "my-project"
dataset = "plant"
window_sizes = ["10s", "1m"]
[powerbi]
workspace = "w-1"
dataset = "d-1"
tenant = "t-1"
client_id = "c-1"
client_secret_file = "secret"
"""


def written(tmp_path: Path, text: str) -> Path:
    """Write a file of settings."""
    file = tmp_path / "gaugeway.toml"
    file.write_text(text)
    return file


def test_without_a_file_there_is_the_warehouse_alone() -> None:
    """Nothing need be configured."""
    assert list(load_settings(None).targets(Path("/data"))) == ["warehouse"]
    assert load_settings(None).warehouse_dir(Path("/data")) == Path("/data/warehouse")


def test_every_section_becomes_a_sink(tmp_path: Path) -> None:
    """Each target is what the sink's own configuration takes; sizes are milliseconds there."""
    settings = load_settings(written(tmp_path, GOOD))
    targets = settings.targets(Path("/data"))
    assert settings.shards == 4
    assert not settings.preflight
    assert sorted(targets) == ["bigquery", "powerbi", "warehouse"]
    for target in targets.values():
        TypeAdapter(AnyTarget).validate_python(target)
    assert targets["warehouse"]["keep_days"] == 7
    assert targets["bigquery"]["window_sizes_ms"] == [10_000, 60_000]
    assert targets["powerbi"]["window_sizes_ms"] == [10_000]
    assert targets["powerbi"]["client_secret_file"] == str(tmp_path / "secret")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shards = ", "is not TOML: Invalid value (at end of document)"),
        ("shard = 2", "shard is not a setting; there are shards, preflight, warehouse, bigquery, powerbi"),
        ("shards = 0", "shards: Input should be greater than or equal to 1"),
        ('[bigquery]\nproject = "p"', "bigquery.dataset is missing"),
        ('[bigquery]\nprojekt = "p"', "bigquery.projekt is not a setting; there are project, dataset,"),
        (
            '[bigquery]\nproject = "p"\ndataset = "d"\nwindow_sizes = ["10 s"]',
            "bigquery.window_sizes.0: '10 s' must",
        ),
        (
            '[bigquery]\nproject = "p"\ndataset = "d"\nrest_endpoint = "http://h:1"',
            "name both (an emulator) or none",
        ),
        ('[powerbi]\nworkspace = "w"\ndataset = "d"\nclient_id = "c"', "powerbi.tenant is missing"),
        ("bigquery = 3", "bigquery: Input should be a valid dictionary"),
    ],
)
def test_a_bad_file_is_refused_by_field_and_rule(tmp_path: Path, text: str, said: str) -> None:
    """The sentence begins with the file."""
    file = written(tmp_path, text)
    with pytest.raises(SettingsError) as error:
        load_settings(file)
    assert said in str(error.value)
    assert all(line.startswith(str(file)) for line in str(error.value).splitlines())


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Also one that is named and missing."""
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "missing.toml")


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one named, else that of the working directory, else the data directory's."""
    here, data = tmp_path / "here", tmp_path / "data"
    here.mkdir()
    data.mkdir()
    monkeypatch.chdir(here)
    assert find_settings(None, data) is None
    written(data, "")
    assert find_settings(None, data) == data / "gaugeway.toml"
    written(here, "")
    assert find_settings(None, data) == Path("gaugeway.toml")
    assert find_settings(Path("other.toml"), data) == Path("other.toml")
