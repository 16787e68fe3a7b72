"""What statistics guarantee, in memory and in a database."""

from shop.service_layer.unit_of_work import Statistics


async def count_some(statistics: Statistics) -> dict[str, int]:
    """Count some orders, and return the expected numbers."""
    for _ in range(3):
        await statistics.count("placed")
    await statistics.count("cancelled")
    return {"placed": 3, "cancelled": 1}
