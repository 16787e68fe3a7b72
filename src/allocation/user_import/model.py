"""The import of many users with one command: each row stands or falls alone."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from allocation.domain.commands import Command
from allocation.domain.error_kinds import InvalidInput, RuleViolation
from allocation.domain.events import Event, UserId
from allocation.domain.users import User
from allocation.domain.values import EmailAddress, PersonName


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRow:
    """One row of a list of users: the line it stands on, a new id, and what it says."""

    line: int
    user_id: UserId
    name: str
    email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportUsers(Command):
    """Register the users of these rows, and refuse only those rows that have to be.

    A row is recognized by its address, so repeating an import changes nothing.
    """

    import_id: UUID
    rows: tuple[ImportedRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """A row of an import that registered nobody, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UsersImported(Event):
    """So many users of a list were registered; each has an event of its own, too."""

    import_id: UUID
    registered: int
    refused: tuple[RefusedRow, ...]


class NobodyImported(RuleViolation):
    """None of the rows of an import is new, and some are refused: `refused` names them."""

    def __init__(self, refused: Sequence[RefusedRow]) -> None:
        super().__init__(f"nobody was imported, and {len(refused)} rows are refused")
        self.refused = refused


class UserList:
    """Rows that are to be users. Those whose values are invalid are refused."""

    def __init__(self, rows: Iterable[ImportedRow]) -> None:
        self._refused: list[RefusedRow] = []
        self._valid: list[tuple[int, UserId, PersonName, EmailAddress]] = []
        for row in rows:
            try:
                values = PersonName(row.name), EmailAddress(row.email)
                self._valid.append((row.line, row.user_id, *values))
            except InvalidInput as error:
                self._refuse(row.line, error)

    @property
    def emails(self) -> Collection[EmailAddress]:
        """The addresses by which users may be known already."""
        return {email for *_, email in self._valid}

    @property
    def refused(self) -> tuple[RefusedRow, ...]:
        """The rows that are refused, in the order of their lines."""
        return tuple(sorted(self._refused, key=lambda row: row.line))

    def register(self, known: Mapping[EmailAddress, User]) -> Sequence[User]:
        """Return a new user for each address that is not known.

        They come in an order in which no two imports wait for each other. A known address with the
        same name is no news; with another name, the row is refused.

        :raises NobodyImported: if nobody is new, and a row is refused
        """
        holders, new_users = dict(known), list[User]()
        for line, user_id, name, email in self._valid:
            if email not in holders:
                holders[email] = user = User.register(user_id, name, email)
                new_users.append(user)
                continue
            try:
                holders[email].ensure_same_registration(name, email)
            except RuleViolation as error:
                self._refuse(line, error)
        if self._refused and not new_users:
            raise NobodyImported(self.refused)
        return sorted(new_users, key=lambda user: user.email.key)

    def _refuse(self, line: int, error: Exception) -> None:
        self._refused.append(RefusedRow(line=line, reason=str(error)))
