"""The composition root: configures the engine, and gives handlers what they ask for."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from aftercommit import (
    App,
    Application,
    Codec,
    Database,
    Observer,
    message_types,
    open_application,
)

from loyalty.adapters.coupon_supply import AllocationCouponSupply
from loyalty.adapters.orm import start_mappers
from loyalty.adapters.repositories import unit_of_work
from loyalty.config import Settings
from loyalty.domain import messages
from loyalty.domain.bases import Event
from loyalty.service_layer.ports import CouponSupply

EVENTS = message_types(messages, Event)
CODEC: Codec[Event] = Codec(source="/loyalty", events=EVENTS)


def bootstrap(
    app: App[Any],
    settings: Settings,
    *,
    observers: Sequence[Observer] = (),
    delivers: bool = True,
    coupon_supply: CouponSupply | None = None,
) -> AbstractAsyncContextManager[Application]:
    """Open everything the settings ask for, and close it at the end.

    Handlers that ask for `coupon_supply` get a sender of commands to the service `allocation`,
    unless a test passes its own. Without a broker, such handlers do not run: their deliveries
    wait for a process that has one.

    :raises InvalidValue: if a setting is wrong
    :raises Unavailable: if the database cannot be used as it is
    """
    start_mappers()

    def effect_ports(
        database: Database, offered: Mapping[str, Callable[[], Any]]
    ) -> Mapping[str, Any]:
        sender = offered["command_sender"]()
        return {"coupon_supply": coupon_supply or (sender and AllocationCouponSupply(sender))}

    return open_application(
        app,
        settings,
        unit_of_work,
        effect_ports=effect_ports,
        observers=observers,
        delivers=delivers,
    )
