"""The playground: real processes, a real mail server and real faults, on one page.

It is no part of the program, which has no switches for faults: processes get signals, and the mail
server is behind a proxy that can be cut. Begin with `experiments.py`.

    python -m playground [--port 8000] [--no-browser]
"""
