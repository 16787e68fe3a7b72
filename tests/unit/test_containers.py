"""The container files cannot be run everywhere; what can be checked without Docker is."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from allocation.adapters.notifications import SmtpServer

from allocation.config import load

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())[
    "services"
]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_worker_gets_settings_that_exist() -> None:
    """A misspelled variable would be ignored without a word."""
    environment = SERVICES["worker"]["environment"]
    settings = load({}, environment)

    for name, value in environment.items():
        assert getattr(settings, name.removeprefix("ALLOCATION_").lower()) == value


def test_the_urls_lead_to_services_of_the_file() -> None:
    """Names, passwords and ports are written in two places each."""
    settings = load({}, SERVICES["worker"]["environment"])
    postgres = SERVICES["postgres"]["environment"]

    assert settings.database_url == (
        f"postgresql://{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}"
        f"@postgres:5432/{postgres['POSTGRES_DB']}"
    )
    rabbitmq = SERVICES["rabbitmq"]["environment"]
    assert settings.broker_url == (
        f"amqp://{rabbitmq['RABBITMQ_DEFAULT_USER']}:{rabbitmq['RABBITMQ_DEFAULT_PASS']}"
        "@rabbitmq:5672/"
    )
    assert SmtpServer.from_url(str(settings.smtp_url)).host in SERVICES
    assert set(SERVICES["worker"]["depends_on"]) <= set(SERVICES)


def test_a_container_has_time_to_finish_its_work() -> None:
    """Docker kills after ten seconds, if it is not told otherwise: just as our grace ends."""
    seconds = float(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))

    assert seconds > load({}, {}).grace_seconds


@pytest.mark.parametrize("name", re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE))
def test_everything_the_image_copies_exists(name: str) -> None:
    """A build that fails is found by a user otherwise."""
    assert all((ROOT / path).exists() for path in name.split())


def test_the_image_does_not_run_as_root() -> None:
    """Whoever breaks out of the application should not be root."""
    assert re.search(r"^USER (?!root)\w+$", DOCKERFILE, re.MULTILINE)
