"""What the commands do for images: one file a verb."""
