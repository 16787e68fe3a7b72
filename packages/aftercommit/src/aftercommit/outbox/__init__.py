"""The outbox for an application that opens its sessions itself: `outbox.py`, and its parts."""
