"""What the engine can do beyond its main work; an application lists the extensions it wants."""
