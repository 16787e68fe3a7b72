"""Unit tests: domain and handlers, on fakes, on asyncio and Trio. No I/O."""
