"""The migrations of the application's tables: `versions` has a file for each revision."""

from pathlib import Path

from aftercommit import History

from allocation.adapters.orm import metadata

HISTORY = History("allocation", metadata, [Path(__file__).parent / "versions"])
