"""The service layer: use cases, the message bus, the promises of delivery. No technology."""
