"""An order and its lines: an aggregate with parts, which enforces rules about all of them."""

from uuid import UUID, uuid4

from shop.domain.aggregate import Aggregate, InvalidInput, RuleViolation
from shop.domain.messages import OrderCancelled, OrderPlaced

MOST_PIECES = 100


class OrderNotFound(RuleViolation):
    """No order has this id."""

    def __init__(self, order_id: object) -> None:
        super().__init__(f"there is no order {order_id}")


class TooManyPieces(RuleViolation):
    """An order is larger than what is delivered at a time."""

    def __init__(self, pieces: int) -> None:
        super().__init__(f"an order has at most {MOST_PIECES} pieces, and this has {pieces}")


class Line:
    """A part of an order: so many pieces of an article. It is reached through the order."""

    def __init__(self, article: str, pieces: int) -> None:
        if not article or pieces < 1:
            raise InvalidInput("a line of an order needs an article, and one piece or more")
        self.id, self.article, self.pieces = uuid4(), article, pieces


class Order(Aggregate):
    """What somebody has ordered."""

    def __init__(self, order_id: UUID, email: str) -> None:
        if "@" not in email:
            raise InvalidInput(f"{email!r} is not an e-mail address")
        self.id, self.email, self.version = order_id, email, 0
        self.is_cancelled = False
        self.lines: list[Line] = []

    @classmethod
    def place(cls, order_id: UUID, email: str, articles: dict[str, int]) -> "Order":
        """Order some articles, and record OrderPlaced."""
        if not articles:
            raise InvalidInput("an order needs an article, or more")
        order = cls(order_id, email)
        for article, pieces in articles.items():
            order.add(article, pieces)
        order.record(OrderPlaced(order_id=order_id, email=email, pieces=order.pieces))
        return order

    @property
    def pieces(self) -> int:
        """How many pieces are in all lines."""
        return sum(line.pieces for line in self.lines)

    def add(self, article: str, pieces: int) -> None:
        """Add a line, unless the order becomes too large."""
        line = Line(article, pieces)
        if self.pieces + pieces > MOST_PIECES:
            raise TooManyPieces(self.pieces + pieces)
        self.lines.append(line)

    def cancel(self) -> None:
        """Take the order back, and record OrderCancelled; doing it again changes nothing."""
        if not self.is_cancelled:
            self.is_cancelled = True
            self.record(OrderCancelled(order_id=self.id, email=self.email))
