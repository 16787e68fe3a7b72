"""The inside of the engine, as far as several tests need it: if it moves, it is followed here.

All else that tests use has a public name; `checks/test_public_imports.py` counts the exceptions.
"""
