"""The first-party zoos."""
