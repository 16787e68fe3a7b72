"""Takes orders, and sees to what follows from them."""
