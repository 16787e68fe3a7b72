"""The application over HTTP: words in, a command, words out; it holds no rules."""
