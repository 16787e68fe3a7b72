"""The domain: what a user, a coupon and their events are. Imports the standard library only."""
