"""The engine's own tests: none of them knows the application beside it."""
