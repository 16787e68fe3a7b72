"""Deliveries in the database: the outbox, the inbox, and the unit of work that stores both."""
