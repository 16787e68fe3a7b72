"""Of the extension `postgresql`: real processes."""
