"""What statistics promise, in memory as in a database."""

from shop.service_layer.unit_of_work import Statistics


async def count_some(statistics: Statistics) -> dict[str, int]:
    """Count some orders, and return what the numbers have to be then."""
    await statistics.count(placed=2)
    await statistics.count(placed=1, cancelled=1)
    return {"placed": 3, "cancelled": 1}
