"""Keeps the points of users, and orders coupons for those who have collected enough."""
