"""What a process writes to a terminal: it waits for none, and sends nothing that controls one."""
