"""Makes `python -m aftercommit` the same as the console script."""

from aftercommit.outbox.command import main

if __name__ == "__main__":
    main()
