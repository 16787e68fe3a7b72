"""Projects that are made, checked and tested as their owners do."""
