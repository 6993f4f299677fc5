"""Pairs of proteins in, scores out; sequences in, embeddings out."""
