"""Protein data without torch: sequences, pairs, splits, and the file that embeddings are kept in.

Every module stands alone: ``from holotype.data.fasta import read_proteins``. Importing this package
imports none of them.
"""
