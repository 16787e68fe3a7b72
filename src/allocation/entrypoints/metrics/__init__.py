"""The room "metrics": what is done and what is owed, for Prometheus; and whether it goes well.

Importing this package does not import prometheus-client: that waits until somebody asks.
"""
