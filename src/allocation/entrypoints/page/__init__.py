"""The room page: what happens, live, in a browser; and what needs a person, done there.

Read `reader.py` first: one reader for all who look; then `stream.py`, what each of them is sent.
What runs in the browser is in `assets`: begin with `page.js`.
"""
