"""Tells a person what happens, a line each: the observer of the command line and the worker.

What has no line of its own here is told in the words of its name, so nothing has to be added.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import astuple
from functools import partial
from pkgutil import resolve_name
from typing import Any

from allocation.domain.commands import AddCouponBatch, ChangeEmail, Command, RegisterUser
from allocation.domain.events import CouponAllocated
from allocation.rooms import ROOMS
from allocation.service_layer.envelopes import Envelope
from allocation.service_layer.facts import Delivered, Executed, Fact

Done = type[Command] | str  # the type of a command, or the name of a handler
Line = Callable[[Any, Sequence[Envelope]], str]


def _coupon_line(event: Any, caused: Sequence[Envelope]) -> str:
    for envelope in caused:
        if isinstance(envelope.event, CouponAllocated):
            return f"[Coupon Service] coupon {_hidden(envelope.event)} allocated to {event.email}"
    return f"[Coupon Service] no coupon left for {event.email}"


def _hidden(event: CouponAllocated) -> str:
    """Name the coupon without its code, which is money: the story goes to journals, too."""
    return f"{event.batch_reference}-…"


LINES: dict[Done, Line] = {
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
    "refresh_user_view": lambda e, _: "",  # nobody would care
}
EMAILS: dict[Done, Callable[[Any], tuple[str, str]]] = {  # what, and to whom
    "send_welcome_email": lambda e: ("welcome e-mail", f" to {e.email}"),
    "send_coupon_email": lambda e: (f"e-mail with coupon {_hidden(e)}", ""),
    "send_change_notice": lambda e: ("notice of change", f" to {e.old_email}"),
    "notify_marketing": lambda e: ("notice of being out of coupons", " to marketing"),
}


class Story:
    """An observer that tells what was done, in the order in which it was done.

    E-mails were sent, or kept in `mail_folder` if there is one.
    """

    def __init__(self, tell: Callable[[str], None], mail_folder: str | None = None) -> None:
        self._tell = tell
        self._kept = f" kept in {mail_folder}" if mail_folder else ""
        self._lines = dict(LINES)
        for place in (room.story for room in ROOMS.values() if room.story):
            self._lines |= resolve_name(place)

    def __call__(self, fact: Fact) -> None:
        """Tell of a command or a handler that has done its work."""
        match fact:
            case Executed(command, events):
                self._tell_of(type(command), command, events)
            case Delivered(delivery, events):
                self._tell_of(delivery.handler, delivery.envelope.event, events)

    def _tell_of(self, done: Done, message: Any, caused: Sequence[Envelope]) -> None:
        if email := EMAILS.get(done):
            what, to = email(message)
            self._tell(f"[Email Service]  {what}{'' if self._kept else ' sent'}{to}{self._kept}")
        elif line := self._lines.get(done, partial(_generic_line, done))(message, caused):
            self._tell(line)


def _generic_line(done: Done, message: Any, caused: Sequence[Envelope]) -> str:
    """Return a line with the first field of the message, if any: that is what it is about.

    Of a command without events it says so: whoever repeats one sees that it was done before.
    """
    name = done if isinstance(done, str) else re.sub("(?<!^)(?=[A-Z])", "_", done.__name__)
    news = "" if caused or isinstance(done, str) else "; no event followed"
    return f"[Allocation]     {name.replace('_', ' ').lower()} {[*astuple(message), ''][0]}{news}"
