"""What statements are called, on each database: by faults, in stories and in schedules."""

import re
from functools import cache

CLAIMS = ("WITH due", "WITH found")
TABLE = re.compile(r"(?:INTO|UPDATE|FROM) (?:aftercommit_)?(\w+)")


@cache
def name_of(sql: str) -> str:
    """Say in a few words what a statement asks of a database, as faults know it."""
    words = sql.split(None, 1)
    first = words[0].rstrip(";").upper() if words else ""
    if sql.startswith(CLAIMS):
        return "CLAIM"
    if sql.startswith("WITH these"):
        return "UPDATE deliveries"
    if "advisory" in sql:
        return "LOCK lanes"
    table = TABLE.search(sql) if first not in ("BEGIN", "COMMIT", "ROLLBACK") else None
    if not table:
        return " ".join(sql.split())[:40].rstrip(";")
    if first == "SELECT" and "FOR UPDATE" in sql:
        return f"SELECT {table[1]} FOR UPDATE"
    return f"{first} {table[1]}"
