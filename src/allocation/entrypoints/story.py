"""Tells a person what happens, a line each: the observer of the command line and the worker."""

from collections.abc import Callable, Sequence
from typing import Any

from allocation.domain.commands import AddCouponBatch, ChangeEmail, Command, RegisterUser
from allocation.domain.events import CouponAllocated, Event
from allocation.service_layer.delivery import Delivery
from allocation.service_layer.envelopes import Envelope
from allocation.service_layer.facts import Delivered, Executed, Fact

Line = Callable[[Any, Sequence[Envelope]], str]


def _coupon_line(event: Any, caused: Sequence[Envelope]) -> str:
    for envelope in caused:
        if isinstance(envelope.event, CouponAllocated):
            return f"[Coupon Service] coupon {_hidden(envelope.event)} allocated to {event.email}"
    return f"[Coupon Service] no coupon left for {event.email}"


def _hidden(event: CouponAllocated) -> str:
    """Name the coupon without its code, which is money: the story goes to journals, too."""
    return f"{event.batch_reference}-…"


COMMAND_LINES: dict[type[Command], Line] = {
    RegisterUser: lambda c, caused: (
        f"[User Service]   registered {c.name} <{c.email}> as {c.user_id}"
        if caused
        else f"[User Service]   {c.email} was registered before; nothing to do"
    ),
    ChangeEmail: lambda c, caused: (
        f"[User Service]   e-mail address of {c.user_id} changed to {c.new_email}"
        if caused
        else f"[User Service]   {c.user_id} has the address {c.new_email} already; nothing to do"
    ),
    AddCouponBatch: lambda c, _: f"[Coupon Service] batch {c.reference} holds {c.quantity} coupons",
}

HANDLER_LINES: dict[str, Line] = {
    "log_registration": lambda e, _: f"[Log Service]    user registered: {e.email}",
    "allocate_welcome_coupon": _coupon_line,
    "publish_event_to_rabbitmq": lambda e, _: f"[Publisher]      {_said(e)} to RabbitMQ",
    "publish_event_to_kafka": lambda e, _: f"[Publisher]      {_said(e)} to Kafka",
}

EMAILS: dict[str, Callable[[Any], tuple[str, str]]] = {  # what, and to whom
    "send_welcome_email": lambda e: ("welcome e-mail", f" to {e.email}"),
    "send_coupon_email": lambda e: (f"e-mail with coupon {_hidden(e)}", ""),
    "send_change_notice": lambda e: ("notice of change", f" to {e.old_email}"),
    "notify_marketing": lambda e: ("notice of being out of coupons", " to marketing"),
}


def _said(event: Event) -> str:
    return f"{type(event).__name__} published"


class Story:
    """An observer that tells what happened, in the order in which it happened.

    E-mails were sent, or kept in `mail_folder` if there is one.
    """

    def __init__(self, tell: Callable[[str], None], mail_folder: str | None = None) -> None:
        self._tell = tell
        self._mail_folder = mail_folder

    def __call__(self, fact: Fact) -> None:
        """Tell of commands and handlers that have done their work."""
        if isinstance(fact, Executed):
            self._executed(fact.command, fact.events)
        elif isinstance(fact, Delivered):
            self._delivered(fact.delivery, fact.events)

    def _executed(self, command: Command, events: Sequence[Envelope]) -> None:
        """Tell what a command did, if a person would care."""
        if line := COMMAND_LINES.get(type(command)):
            self._tell(line(command, events))

    def _delivered(self, delivery: Delivery, events: Sequence[Envelope]) -> None:
        """Tell what a handler did, if a person would care."""
        if line := HANDLER_LINES.get(delivery.handler):
            self._tell(line(delivery.envelope.event, events))
        elif email := EMAILS.get(delivery.handler):
            self._tell(f"[Email Service]  {self._where(*email(delivery.envelope.event))}")

    def _where(self, what: str, to: str) -> str:
        folder = self._mail_folder
        return f"{what}{to} kept in {folder}" if folder else f"{what} sent{to}"
