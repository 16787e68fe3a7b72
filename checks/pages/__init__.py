"""Pages whose commands are run, as a reader runs them."""
