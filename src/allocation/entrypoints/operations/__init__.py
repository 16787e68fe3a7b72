"""The room "operations": for those who look after an installation and fill it with data.

The import of users, the deliveries that need a decision, the past for a handler that was added
later, the end of old history, the list of users made anew, a log for machines, passwords in files.
"""
