"""The catalog: which names there are, and what each is bound to."""
