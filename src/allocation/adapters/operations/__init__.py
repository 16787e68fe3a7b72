"""The room "operations": what a person looks at in a running system, and decides about it."""
