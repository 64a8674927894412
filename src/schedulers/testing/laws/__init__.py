"""The laws: each is one check."""
