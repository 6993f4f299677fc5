"""Data: proteins' sequences, pairs, splits and embeddings; and images, with their classes or boxes.

Only what turns images into tensors (`pictures`, `image_resize`, `augmentation`) imports torch.

Every module stands alone: ``from holotype.data.fasta import read_proteins``. Importing this package
imports none of them.
"""
