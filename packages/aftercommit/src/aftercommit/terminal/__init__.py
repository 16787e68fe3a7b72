"""Output to terminals: it never blocks, and sends nothing that controls a terminal."""
