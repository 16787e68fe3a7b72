"""The engine's migrations, in `versions`, and how its and an application's are applied."""
