"""What tests of operations use here, until they have moved; the suite itself is the engine's."""

from tests.worlds import World


async def let_leases_end(world: World) -> None:
    await world.move_clock(world.policy.lease_seconds + 1)


async def handlers_owed(world: World) -> list[str]:
    return sorted(handler for _, handler in await world.deliveries())
