"""The commands of the extension "brokers", in this process: what they refuse."""

import pytest

from tests.command_line import Application


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("--broker-urls", "nats://x", "users"), "error: "),
        (("consume",), "error: ALLOCATION_BROKER_URLS is not set: there is nothing to consume"),
        (("run",), "error: ALLOCATION_BROKER_URLS is not set: there is nothing to consume"),
        (("--broker-urls", " ", "run"), "error: ALLOCATION_BROKER_URLS is not set"),
        (
            ("--event-loop", "trio", "--broker-urls", "amqp://x", "users"),
            "needs the event loop asyncio",
        ),
    ],
)
def test_malformed_input_is_exit_code_2(
    application: Application, command: tuple[str, ...], complaint: str
) -> None:
    """The message says what is wrong, and nothing is created."""
    application.refuses(*command, complaint=complaint)
