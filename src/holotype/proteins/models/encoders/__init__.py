"""Encoders: a sequence in, a vector for each residue (or for the protein) out."""
