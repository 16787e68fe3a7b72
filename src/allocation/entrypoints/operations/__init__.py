"""The room "operations": for those who look after an installation and fill it with data.

The import of users, the deliveries that need a decision, the end of old events, a log for machines,
passwords in files.
"""
