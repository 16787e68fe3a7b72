"""compose.yaml cannot be run everywhere; what can be checked without Docker is."""

import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from aftercommit.extensions.brokers.settings import BrokerSettings
from aftercommit.extensions.web.application import web_application
from aftercommit.extensions.web.settings import WebSettings

from allocation.adapters.smtp.smtp_url import SmtpServer
from allocation.config import Settings, load
from allocation.entrypoints.allocation import Allocation
from allocation.extension_list import EXTENSIONS

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MOUNTED = "/run/secrets"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is in the files of `make secrets`, by the names that compose.yaml gives them."""
    folder = tmp_path_factory.mktemp("compose")
    shutil.copy(ROOT / "Makefile", folder)
    subprocess.run(["make", "secrets", f"PYTHON={sys.executable}"], cwd=folder, check=True)
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
    files = {name: folder / secret["file"] for name, secret in COMPOSE["secrets"].items()}
    return {name: file.read_text().removesuffix("\n") for name, file in files.items()}


@pytest.fixture
def settings(secrets: dict[str, str], tmp_path: Path) -> Settings:
    """The settings as the worker reads them in its container."""
    return read_in("worker", secrets, tmp_path)


def read_in(service: str, secrets: dict[str, str], folder: Path) -> Settings:
    """Read the settings as a process does in the container of this service."""
    for name in SERVICES[service]["secrets"]:
        (folder / name).write_text(secrets[name])
    variables = SERVICES[service]["environment"].items()
    return load({}, {name: value.replace(MOUNTED, str(folder)) for name, value in variables})


def test_the_processes_get_settings_that_exist() -> None:
    """A misspelled variable would be ignored without a word."""
    ours = [service["environment"] for service in SERVICES.values() if "build" in service]
    kinds = (Settings, *EXTENSIONS.settings())
    known = {Settings.variable(setting.name) for kind in kinds for setting in fields(kind)}

    for variables in ours:
        assert {name.removesuffix("_FILE") for name in variables} <= known


def test_the_urls_lead_to_services_of_the_file(settings: Settings, secrets: dict[str, str]) -> None:
    """Names, passwords and ports are written in two places each."""
    postgres = SERVICES["postgres"]["environment"]
    account = dict(line.split(" = ") for line in secrets["rabbitmq_account"].splitlines())

    assert settings.database_url == (
        f"postgresql://{postgres['POSTGRES_USER']}:{secrets['postgres_password']}"
        f"@postgres:5432/{postgres['POSTGRES_DB']}"
    )
    assert settings.of(BrokerSettings).broker_urls == (
        f"amqp://{account['default_user']}:{account['default_pass']}@rabbitmq:5672/"
    )
    assert SmtpServer.from_url(str(settings.mail_url)).host in SERVICES
    assert set(SERVICES["worker"]["depends_on"]) <= set(SERVICES)


def test_the_server_has_a_token_that_nobody_knows(secrets: dict[str, str], tmp_path: Path) -> None:
    """It is made on this machine, and is in no file that is copied with the project."""
    settings = read_in("web", secrets, tmp_path).of(WebSettings)

    assert settings.operator_token == secrets["operator_token"]
    assert settings.operator_token not in (ROOT / "compose.yaml").read_text()


def test_the_server_is_asked_where_it_listens(secrets: dict[str, str], tmp_path: Path) -> None:
    """By the port that is published, and by Docker, which wants to know how it is."""
    web = SERVICES["web"]
    settings = read_in("web", secrets, tmp_path).of(WebSettings)
    [port] = web["ports"]
    host, asked, path = re.findall(r"http://([^:]+):(\d+)(/\w+)", str(web["healthcheck"]))[0]

    assert port.split(":") == ["127.0.0.1", "8000", str(settings.http_port)]
    assert int(asked) == settings.http_port
    assert host in settings.hosts
    assert path in web_application(Allocation(), settings, EXTENSIONS).openapi()["paths"]
    assert web["command"] == ["serve", "--host", "0.0.0.0"]


def test_every_service_gets_the_secrets_it_reads() -> None:
    """A file that is not mounted is found when the container starts, and only then."""
    for service in SERVICES.values():
        given = {
            secret if isinstance(secret, str) else secret["source"]
            for secret in service.get("secrets", ())
        }
        read = re.findall(rf"{MOUNTED}/(\w+)", str(service.get("environment", "")))
        assert set(read) <= given <= set(COMPOSE["secrets"])


def test_no_password_is_in_the_file_and_none_is_the_same_twice(secrets: dict[str, str]) -> None:
    """An example that is copied is an installation with a known password."""
    written = (ROOT / "compose.yaml").read_text()

    assert not re.search(r"://\w+:\w+@|PASS(WORD)?: ", written)
    passwords = re.findall(r"[0-9a-f]{48}", " ".join(secrets.values()))
    made = ["of PostgreSQL", "of RabbitMQ", "of the operator"]
    assert len(set(passwords)) == len(made)
    assert len(passwords) == len(made) + 2  # two are in a URL, too


def test_nothing_is_published_to_other_machines() -> None:
    """Docker opens a published port past the firewall."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert len(ports) >= 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_an_image_is_named_by_its_whole_version() -> None:
    """What is tested today is not replaced by the next release."""
    named = [service["image"] for service in SERVICES.values() if "image" in service]

    whole = r"(postgres:\d+|.*:v?\d+\.\d+)\.\d+(-[a-z]+)?"  # PostgreSQL has two numbers
    assert [name for name in named if not re.fullmatch(whole, name)] == []


def test_whoever_breaks_into_a_process_finds_little() -> None:
    """It cannot write a program into its container, nor become somebody who may do more."""
    for service in SERVICES.values():
        assert service["security_opt"] == ["no-new-privileges:true"]
        if "build" in service:
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_what_ends_is_started_again() -> None:
    """A machine that restarts at night should not need anybody."""
    assert {service["restart"] for service in SERVICES.values()} == {"unless-stopped"}


def test_a_container_has_time_to_finish_its_work() -> None:
    """Docker kills after ten seconds, if it is not told otherwise: just as our grace ends."""
    ours = [service for service in SERVICES.values() if "build" in service]
    seconds = [float(service["stop_grace_period"].removesuffix("s")) for service in ours]

    assert min(seconds) > load({}, {}).shutdown_grace_seconds
