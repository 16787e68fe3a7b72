"""What a person is told of events that were published."""

from typing import Any

LINES = {
    "publish_event_to_rabbitmq": lambda event, _: f"{_published(event)} to RabbitMQ",
    "publish_event_to_kafka": lambda event, _: f"{_published(event)} to Kafka",
}


def _published(event: Any) -> str:
    return f"[Publisher]      {type(event).__name__} published"
