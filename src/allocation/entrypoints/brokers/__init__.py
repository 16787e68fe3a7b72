"""The room "brokers": takes commands from message brokers, and describes what is exchanged."""
