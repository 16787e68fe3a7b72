"""Services beside the application, each in a folder, and what runs several of them."""
