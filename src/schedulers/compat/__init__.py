"""Other libraries' interfaces, over this library's engine."""
