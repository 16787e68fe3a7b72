"""The room "console": a process that its surroundings can neither hold up nor keep alive.

Not the terminal that nobody reads, and no handler that blocks the event loop or hangs.
"""
