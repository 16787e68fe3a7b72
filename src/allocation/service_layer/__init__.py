"""The use cases, and the ports that they need. The message bus is that of the engine."""
