"""The adapters: the ports of the service layer, done with real technology."""
