"""The store: files kept under their sha256, and the ways to get them. No torch in here.

Deciding and acting are apart: `sources` says where bytes are, `fetch` in which order to try;
`http` and `wheels` move them; `blobs` alone gives a file its final name.
"""
