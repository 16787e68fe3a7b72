"""Of the repository itself: documentation, deployment, playground, tools, and what is released."""
