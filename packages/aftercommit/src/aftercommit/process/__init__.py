"""What runs an application: its command line, its services, and the signals that stop them."""
