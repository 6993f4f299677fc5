"""What the commands do for proteins: one file a verb."""
