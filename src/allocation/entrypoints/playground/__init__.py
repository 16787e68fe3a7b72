"""The room playground: real processes, a real mail server, and faults that are real, on one page.

The product has no switch for any of them: processes get signals, and the mail server is behind a
line that can be cut. Begin with `experiments.py`.
"""
