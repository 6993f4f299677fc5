"""Loading: from a name, or a weight file, to a network that is ready. torch is imported on use."""
