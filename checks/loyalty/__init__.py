"""Checks of the example `loyalty`: it is like a new project, and works beside the application."""
