"""The checks of this repository: pages, manifests, tools and releases agree with the code."""
