"""A durable workflow of DBOS: what it has done is stored, and a new process goes on behind that."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from dbos import DBOS, SQLAlchemyDatasource
from sqlalchemy import text
from trying import OLD, USER, Change, send_notice, tried

SELECT = text("SELECT email FROM users WHERE id = :id")
UPDATE = text("UPDATE users SET email = :new WHERE id = :id")


def with_dbos(users: SQLAlchemyDatasource) -> Callable[[str, str], None]:
    # begin
    @users.transaction
    def change(user_id: str, new: str) -> str:
        old = users.sql_session().execute(SELECT, {"id": user_id}).scalar_one()
        users.sql_session().execute(UPDATE, {"id": user_id, "new": new})
        return str(old)

    @DBOS.step()
    def notify(old: str) -> None:
        send_notice(old)

    @DBOS.workflow()
    def change_email(user_id: str, new: str) -> None:
        notify(change(user_id, new))

    # end
    return change_email


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Change]:
    url = f"sqlite:///{folder}"
    DBOS(config={"name": "price", "system_database_url": f"{url}/dbos.db", "log_level": "ERROR"})
    users = SQLAlchemyDatasource.create(f"{url}/users.db")
    change_email = with_dbos(users)
    with users.engine.begin() as connection:
        columns = "id TEXT PRIMARY KEY, email TEXT UNIQUE"
        connection.exec_driver_sql(f"CREATE TABLE IF NOT EXISTS users ({columns})")
        connection.exec_driver_sql(f"INSERT OR IGNORE INTO users VALUES ('{USER}', '{OLD}')")
    DBOS.launch()

    async def change(new: str) -> None:
        change_email(USER, new)

    yield change
    DBOS.destroy()


if __name__ == "__main__":
    tried(opened)
