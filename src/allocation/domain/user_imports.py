"""The import of many users with one command: each row stands or falls alone."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from allocation.domain.aggregate import Aggregate
from allocation.domain.commands import ImportedRow
from allocation.domain.events import RefusedRow, UserId, UsersImported
from allocation.domain.exceptions import InvalidInput, RuleViolation
from allocation.domain.users import User
from allocation.domain.values import EmailAddress, PersonName


class NobodyImported(RuleViolation):
    """None of the rows of an import is new, and some are refused: `refused` names them."""

    def __init__(self, refused: Sequence[RefusedRow]) -> None:
        super().__init__(f"nobody was imported, and {len(refused)} rows are refused")
        self.refused = refused


class UserImport(Aggregate):
    """Rows that are to be users. Only the users are stored, and the event."""

    def __init__(self, import_id: UUID, rows: Iterable[ImportedRow]) -> None:
        """Take the rows; those whose values are invalid are refused."""
        self.id = import_id
        self.version = 0
        self.new_users: tuple[User, ...] = ()
        self._refused: list[RefusedRow] = []
        self._valid: list[tuple[int, UserId, PersonName, EmailAddress]] = []
        for row in rows:
            try:
                values = PersonName(row.name), EmailAddress(row.email)
                self._valid.append((row.line, row.user_id, *values))
            except InvalidInput as error:
                self._refuse(row.line, error)

    @property
    def key(self) -> UUID:
        """The id: the chunks of one import share it."""
        return self.id

    @property
    def new_parts(self) -> Iterable[User]:
        """The new users, in an order in which no two imports wait for each other."""
        return sorted(self.new_users, key=lambda user: user.email.key)

    @property
    def emails(self) -> Collection[EmailAddress]:
        """The addresses by which users may be known already."""
        return {email for *_, email in self._valid}

    def register(self, known: Mapping[EmailAddress, User]) -> None:
        """Register everybody whose address is not known, and record UsersImported.

        A known address with the same name is no news; with another name, the row is refused.

        :raises NobodyImported: if nobody is new, and a row is refused
        """
        holders = dict(known)
        for line, user_id, name, email in self._valid:
            if email not in holders:
                holders[email] = user = User.register(user_id, name, email)
                self.new_users += (user,)
                continue
            try:
                holders[email].ensure_same_registration(name, email)
            except RuleViolation as error:
                self._refuse(line, error)
        self._conclude()

    def _conclude(self) -> None:
        refused = tuple(sorted(self._refused, key=lambda row: row.line))
        if self.new_users:
            count = len(self.new_users)
            self.record(UsersImported(import_id=self.id, registered=count, refused=refused))
        elif refused:
            raise NobodyImported(refused)

    def _refuse(self, line: int, error: Exception) -> None:
        self._refused.append(RefusedRow(line=line, reason=str(error)))
