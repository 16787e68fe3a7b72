"""The room web: the application over HTTP. Words in, a command, words out; it holds no rules.

Read `users.py` first, then `executing.py`, and `requests.py` for what is around each request.
"""
