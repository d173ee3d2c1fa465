"""The commands that need the server package; each parses its line, acts and prints."""
