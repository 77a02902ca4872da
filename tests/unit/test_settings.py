"""Settings: the order of their sources, their bounds, and no unknown keys."""

from pathlib import Path

import pytest

from configs import generate
from monitor.errors import SettingsError
from monitor.settings import Settings, load, variables


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)


def test_defaults_need_no_file() -> None:
    settings = load()
    assert settings.api.port == 8420
    assert settings.database.dsn is None


def test_environment_overrides_secrets_and_they_override_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, secrets = tmp_path / "airtrace.yaml", tmp_path / "secrets"
    config.write_text("api: {port: 1111, host: 0.0.0.0}\ndatabase: {dsn: postgresql://yaml}\nmatching: {top_k: 7}\n")
    secrets.mkdir()
    (secrets / "database__dsn").write_text("postgresql://secret")
    (secrets / "api__port").write_text("2222")
    monkeypatch.setenv("AIRTRACE_CONFIG", str(config))
    monkeypatch.setenv("AIRTRACE_SECRETS", str(secrets))
    monkeypatch.setenv("AIRTRACE_API__PORT", "3333")
    settings = load()
    assert settings.api.port == 3333
    assert settings.api.host == "0.0.0.0"
    assert settings.matching.top_k == 7
    assert settings.database.dsn is not None
    assert settings.database.dsn.get_secret_value() == "postgresql://secret"


def test_flags_override_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRTRACE_HOME", "/elsewhere")
    assert load(home=tmp_path).home == tmp_path
    assert load(home=None).home == Path("/elsewhere")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("AIRTRACE_API__PORT", "70000", "api.port"),
        ("AIRTRACE_API__PORTS", "80", "AIRTRACE_API__PORTS"),
        ("AIRTRACE_INGEST__WINDOW_S", "0", "ingest.window_s"),
        ("AIRTRACE_LOG__LEVEL", "loud", "log.level"),
        ("AIRTRACE_API__HOSTS", '["radio.*"]', "api.hosts"),
        ("AIRTRACE_API__HOSTS", '["*radio.example"]', "api.hosts"),
    ],
)
def test_invalid_and_unknown_settings_are_refused_by_name(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=told):
        load()


@pytest.mark.parametrize("text", ["api: {prot: 1}", "nothing: 1", "api: [", "api: 5"])
def test_an_invalid_file_is_refused_in_one_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    monkeypatch.setenv("AIRTRACE_CONFIG", str(file))
    with pytest.raises(SettingsError) as caught:
        load()
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRTRACE_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(SettingsError, match="not a file"):
        load()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRTRACE_DATABASE__DSN", "postgresql://user:hunter2@host/db")
    settings = load()
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()


def test_the_generated_files_are_up_to_date() -> None:
    assert generate.main(["--check"]) == 0


def test_a_command_of_the_full_mode_names_the_servers_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRTRACE_DATABASE__DSN", "postgresql://host/db")
    settings = load()
    settings.require("airtrace api", "database.dsn")
    with pytest.raises(
        SettingsError, match=r"^`airtrace ingest` needs AIRTRACE_DATABASE__DSN and AIRTRACE_KAFKA__BOOTSTRAP$"
    ):
        settings.require("airtrace ingest", "database.dsn", "kafka.bootstrap")


def test_only_both_servers_make_the_home_unnecessary(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().needs_home
    monkeypatch.setenv("AIRTRACE_DATABASE__DSN", "postgresql://host/db")
    assert load().needs_home
    monkeypatch.setenv("AIRTRACE_MILVUS__URI", "http://host:19530")
    assert not load().needs_home


def test_every_setting_is_documented() -> None:
    text = generate.documents()["settings.md"]
    assert all(f"`{name}`" in text for name in variables())
    assert Settings.model_json_schema()["additionalProperties"] is False


def test_the_example_file_changes_nothing_and_is_valid_when_uncommented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = generate.documents()["airtrace.example.yaml"]
    uncommented = "\n".join(line.removeprefix("# ") for line in example.splitlines()[1:] if "home:" not in line)
    file = tmp_path / "a.yaml"
    file.write_text(uncommented)
    monkeypatch.setenv("AIRTRACE_CONFIG", str(file))
    assert load() == Settings()
