"""An order and its lines: an aggregate with parts, which enforces rules about all of them."""

from uuid import UUID

from shop.domain.bases import Aggregate, InvalidValue, RuleViolation
from shop.domain.messages import OrderCancelled, OrderPlaced
from shop.domain.values import Article, EmailAddress

MOST_PIECES = 100


class OrderNotFound(RuleViolation, says="there is no order {}"):
    """No order has this id."""


class TooManyPieces(RuleViolation, says=f"an order has at most {MOST_PIECES} pieces"):
    """An order is larger than one delivery may be."""


class OrderIdTaken(RuleViolation, says="there is another order with the id {}"):
    """Another order has this id."""


class Line:
    """A part of an order: some pieces of an article. It is reached only through the order."""

    def __init__(self, article: str, pieces: int) -> None:
        if pieces < 1:
            raise InvalidValue("a line of an order", "has one piece or more")
        self.article = Article(article).value
        self.pieces = pieces


class Order(Aggregate):
    """An order of some articles."""

    def __init__(self, order_id: UUID, email: str) -> None:
        self.id = order_id
        self.email = EmailAddress(email).value
        self.version = 0
        self.is_cancelled = False
        self.lines: list[Line] = []

    @classmethod
    def place(cls, order_id: UUID, email: str, articles: dict[str, int]) -> "Order":
        """Order some articles, and record OrderPlaced."""
        if not articles:
            raise InvalidValue("an order", "needs an article, or more")
        order = cls(order_id, email)
        for article, pieces in articles.items():
            order.add(article, pieces)
        order.record(OrderPlaced(order_id=order_id, email=email, pieces=order.pieces))
        return order

    @property
    def pieces(self) -> int:
        """The number of pieces in all lines."""
        return sum(line.pieces for line in self.lines)

    @property
    def articles(self) -> dict[str, int]:
        """The number of pieces of each article."""
        return {line.article: line.pieces for line in self.lines}

    def add(self, article: str, pieces: int) -> None:
        """Add a line, unless the order becomes too large."""
        line = Line(article, pieces)
        if self.pieces + pieces > MOST_PIECES:
            raise TooManyPieces
        self.lines.append(line)

    def require_same(self, other: "Order") -> None:
        """Refuse another order with this id; else its sender would think that it is placed."""
        if (other.email, other.articles) != (self.email, self.articles):
            raise OrderIdTaken(self.id)

    def cancel(self) -> None:
        """Cancel the order, and record OrderCancelled; doing it again changes nothing."""
        if not self.is_cancelled:
            self.is_cancelled = True
            self.record(OrderCancelled(order_id=self.id, email=self.email))
