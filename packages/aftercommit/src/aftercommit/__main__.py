"""Makes `python -m aftercommit` the same as the console script."""

from aftercommit.outbox.command import main

main()
