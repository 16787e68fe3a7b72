"""The domain: the aggregates, their values and their events. Imports the standard library only."""
