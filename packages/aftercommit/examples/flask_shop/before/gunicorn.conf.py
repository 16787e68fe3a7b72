"""How gunicorn serves the application."""

workers = 2
