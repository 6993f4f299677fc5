"""Sequences, pairs, splits and embeddings of proteins. Importing this package imports none of its modules."""
