"""Images, with their classes or boxes. Importing this package imports none of its modules."""
