"""The history of the engine's tables, and how histories are kept: `versions` has its revisions."""
