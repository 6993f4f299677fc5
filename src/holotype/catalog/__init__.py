"""The catalog: which names there are, and what each is bound to.

The files, bottom up: each imports only those before it.

1. `zoos` finds the zoos: packages, and where their files lie. Nothing is imported.
2. `scan` reads one file as source: its decorators, classes, signatures.
3. `link` follows names from file to file: what `register_model` is there, what a base class brings.
   `grammar` reads names that are put together from parts.
4. `probe` imports, in a child process, a file that the source does not explain.
5. `index` keeps all that between processes, and reads only what has changed (`zoo_files`).
6. `entries` holds one `Entry` for each registration; a `Catalog` is all of them at one moment.
7. `providers` hand over entries: those of scanned zoos, of this process and of installed packages.
8. `state` holds the catalog of a registry and decides when to look again.
9. `registry` has the functions: it finds a name, checks the `parameters`, calls the class, and leaves its
   name and config on the network (`network_record`, `values`).

What happens on ``create_model("v2")`` runs top down: `registry` asks `state` for the entry. In a new process,
`state` makes a catalog: `zoos` lists the zoos, `providers` asks `index` for each, and `index` walks its files
(`zoo_files`) and reads those that changed by `scan`, `link` and, where it must, `probe`. Then `state` imports
the module of ``v2``, and `registry` builds it.

`where` and `config` read filters and config files; `zoo_module` is the code of a zoo's package.
"""
