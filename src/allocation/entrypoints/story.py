"""Tells a person what happens, a line each: the observer of the command line and the worker.

What has no line of its own here is told in the words of its name, so nothing has to be added.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pkgutil import resolve_name
from typing import Any

from allocation.domain.commands import AddCouponBatch, ChangeEmail, Command, RegisterUser
from allocation.domain.events import CouponAllocated
from allocation.rooms import ROOMS
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


LINES: dict[type[Command] | str, Line] = {  # by the type of a command, or the name of a handler
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
    "log_registration": lambda e, _: f"[Log Service]    user registered: {e.email}",
    "allocate_welcome_coupon": _coupon_line,
}
EMAILS: dict[str, Callable[[Any], tuple[str, str]]] = {  # what, and to whom
    "send_welcome_email": lambda e: ("welcome e-mail", f" to {e.email}"),
    "send_coupon_email": lambda e: (f"e-mail with coupon {_hidden(e)}", ""),
    "send_change_notice": lambda e: ("notice of change", f" to {e.old_email}"),
    "notify_marketing": lambda e: ("notice of being out of coupons", " to marketing"),
}
SILENT = {"refresh_user_view"}  # nobody would care


class Story:
    """An observer that tells what happened, in the order in which it happened.

    E-mails were sent, or kept in `mail_folder` if there is one.
    """

    def __init__(self, tell: Callable[[str], None], mail_folder: str | None = None) -> None:
        self._tell = tell
        self._kept = f" kept in {mail_folder}" if mail_folder else ""
        self._lines = dict(LINES)
        for place in (room.story for room in ROOMS.values() if room.story):
            self._lines |= resolve_name(place)

    def __call__(self, fact: Fact) -> None:
        """Tell of commands and handlers that have done their work."""
        if isinstance(fact, Executed):
            self._executed(fact.command, fact.events)
        elif isinstance(fact, Delivered):
            self._delivered(fact.delivery, fact.events)

    def _executed(self, command: Command, events: Sequence[Envelope]) -> None:
        kind = type(command)
        line = self._lines.get(kind) or _generic(re.sub("(?<!^)(?=[A-Z])", " ", kind.__name__))
        self._tell(line(command, events))

    def _delivered(self, delivery: Delivery, events: Sequence[Envelope]) -> None:
        """Tell what a handler did, if a person would care."""
        name, event = delivery.handler, delivery.envelope.event
        if email := EMAILS.get(name):
            what, to = email(event)
            self._tell(f"[Email Service]  {what}{'' if self._kept else ' sent'}{to}{self._kept}")
        elif name not in SILENT:
            line = self._lines.get(name) or _generic(name.replace("_", " "))
            self._tell(line(event, events))


def _generic(words: str) -> Line:
    """Return a line with the first field of the message, if any: that is what it is about."""
    return lambda message, _: f"[Allocation]     {words.lower()} {[*astuple(message), ''][0]}"
