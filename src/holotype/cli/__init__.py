"""The command ``holotype``: one file for each verb, each a thin layer over one public call.

Exit codes: 0 all is well; 1 something is wrong with what was asked about; 2 the command itself is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence

VERBS = {
    "list": "List architectures, or pretrained entries.",
    "info": "Describe a model, a pretrained entry, a zoo, a weight file or a run.",
    "create": "Build a network and print its size.",
    "check": "Check configs without building anything.",
    "predict": "Classify images, find objects in them, or score pairs of proteins.",
    "embed": "Write embeddings of protein sequences, or of images, to one file.",
    "data": "List, fetch or describe datasets.",
    "split": "Split pairs of proteins into training, validation and test parts.",
    "train": "Train a model from a recipe.",
    "evaluate": "Measure a model, or any tool's predictions.",
    "compare": "Compare runs on the same test pairs.",
    "verify": "Hash cached weight files again.",
    "cache": "List, verify or prune what was fetched.",
    "convert": "Write a weight file in another format.",
    "export": "Write a model as an ONNX or PyTorch program.",
    "tasks": "List tasks, and how many models each has.",
    "zoos": "List zoos, and where they were found.",
    "completion": "Print a script that completes model names in a shell.",
}
_MODULES = {"list": "list_"}  # where the name of the file differs from that of the verb
_SERVED_BY_DOMAINS = frozenset({"compare", "split"})  # they have no file: every option is a domain's


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``holotype``; by default the process's.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this (`holotype list >&-`)
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        # Where a sign cannot be written, another stands for it: no reason to fail.
        if getattr(stream, "errors", None) in ("strict", "surrogateescape") and hasattr(
            stream, "reconfigure"
        ):
            stream.reconfigure(errors="replace")
    if words[:1] == ["__complete"]:
        from holotype.cli.completion import complete

        return complete(words[1:], VERBS)
    if words and not words[0].startswith("-") and words[0] not in VERBS:
        from holotype.errors import UnknownNameError
        from holotype.names import nearest
        from holotype.text import clean

        message = UnknownNameError(
            f"no verb named {words[0]!r}.",
            given=words[0],
            nearest=nearest(words[0], VERBS),
            hint="See them all: holotype --help",
        )
        print(f"holotype: {clean(message)}", file=sys.stderr)
        return 2
    parser = _parser(words)
    arguments = parser.parse_args(words)
    if arguments.verb is None:
        parser.print_help()
        return 0
    import warnings

    with warnings.catch_warnings():
        warnings.showwarning = _warner(arguments.verb)
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    from holotype.errors import HolotypeError
    from holotype.text import clean

    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except HolotypeError as error:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        print(f"holotype {arguments.verb}: {clean(error)}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        from holotype.extras import missing_extra

        missing = missing_extra(error, f"holotype {arguments.verb}")
        if missing is None:
            raise
        print(clean(missing), file=sys.stderr)
        return 1
    except BrokenPipeError:  # `holotype list | head`
        _drop_output()
        return 0
    except OSError as error:  # the disk, a folder, the output: the machine, not the code
        place = f"{error.filename}: " if error.filename else ""
        _drop_output()
        print(f"holotype {arguments.verb}: {clean(place)}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"holotype {arguments.verb}: interrupted", file=sys.stderr)
        return 130
    return code


def _drop_output() -> None:
    """What could not be printed must not fail once more when the process ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _warner(verb: str) -> Callable[..., None]:
    """A `warnings.showwarning` that prints each text once, in one line, and not the code it comes from."""
    shown: set[str] = set()

    def show(message: Warning | str, *where: object, **more: object) -> None:
        from holotype.text import plain

        text = plain(message)
        if text not in shown and sys.stderr is not None:
            shown.add(text)
            print(f"holotype {verb}: warning: {text}", file=sys.stderr)

    return show


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    from importlib import import_module

    import holotype

    parser = argparse.ArgumentParser(
        prog="holotype",
        description="Find, describe, build and use any model by its name.",
        epilog="'holotype VERB --help' describes its options.\nListing and describing never import torch.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"holotype {holotype.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    asked = next((word for word in words if word in VERBS), None)
    for verb, summary in VERBS.items():
        sub = verbs.add_parser(verb, help=summary, description=summary)
        if verb == asked:  # the others' options are not needed to run this one
            if verb in _SERVED_BY_DOMAINS:
                from holotype.cli import by_domain

                by_domain.add_options(sub, verb)
                sub.set_defaults(run=by_domain.run)
            else:
                module = import_module(f"holotype.cli.{_MODULES.get(verb, verb)}")
                module.add_arguments(sub)
                sub.set_defaults(run=module.run)
    return parser
