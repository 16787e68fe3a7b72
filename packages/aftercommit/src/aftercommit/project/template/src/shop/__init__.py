"""Takes orders, and does what follows from them."""
