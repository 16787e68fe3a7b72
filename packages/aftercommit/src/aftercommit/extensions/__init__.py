"""What the engine can do beside its main work; an application names those it wants."""
