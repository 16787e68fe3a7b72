"""The application of the engine's tests: things are made, written down, announced and polished.

    python -m aftercommit_tests.things make-thing lamp

What the engine promises has nothing to do with users and coupons. Each of its handlers is the
smallest of its kind, and leaves a trace, so that a test sees how often it took effect.
"""
