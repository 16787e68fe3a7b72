"""What takes too long for each change, and `make test-full` runs: pages followed to the letter."""
