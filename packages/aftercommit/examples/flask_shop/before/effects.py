"""What follows from an order."""

from uuid import UUID

from models import Article
from sqlalchemy.orm import Session


def take_from_stock(session: Session, name: str) -> None:
    article = session.get_one(Article, name, with_for_update=True)
    article.in_stock -= 1


def send_confirmation(order_id: UUID, email: str) -> None:
    with open("confirmations.txt", "a") as file:  # for a mail server
        file.write(f"{order_id} {email}\n")
