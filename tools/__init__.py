"""Tools that make a change to this program cheap: run by make, never by the program itself."""
