"""The room page: what happens, to be looked at while it does. Here is what it looks up."""
