"""Verbs that each domain serves in its own way: their options, and the domain that a command is for.

The file of a verb adds the options that all domains share, and each domain adds its own. A command is for the
domain that claims its input; otherwise for that of the model's task; otherwise for the one whose options are
given.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holotype.domains import Command, domain_of, domains
from holotype.entry_points import resolve
from holotype.errors import DataError, HolotypeError
from holotype.names import nearest
from holotype.options import Options
from holotype.text import plain
from holotype.weights.open import find


@dataclass(frozen=True)
class _Verb:
    """A verb, and what each domain does for it.

    Attributes:
        name: the word that is typed.
        model: the destination of the argument that names a model; empty if none does.
        commands: domain -> what it does.
        own: domain -> its options.
    """

    name: str
    model: str
    commands: Mapping[str, Command]
    own: Mapping[str, list[argparse.Action]]

    @property
    def only(self) -> str:
        """The one domain that serves it; empty if there are several."""
        return next(iter(self.commands)) if len(self.commands) == 1 else ""

    def model_in(self, arguments: argparse.Namespace) -> str | None:
        """The model that a command names."""
        value = getattr(arguments, self.model, None) if self.model else None
        return value[0] if isinstance(value, list) else value

    def forms(self, *names: str) -> list[str]:
        """What may be typed, of some domains, or of all."""
        shown = names or tuple(self.commands)
        return [f"holotype {self.name} {form}" for name in shown for form in self.commands[name].usage]

    def given(self, arguments: argparse.Namespace) -> dict[str, list[str]]:
        """Domain -> those of its own options that were given, as they are typed."""
        added = [action for actions in self.own.values() for action in actions]
        given = {
            action
            for action in added
            if added.count(action) == 1  # not shared
            and action.option_strings
            and getattr(arguments, action.dest) != action.default
        }
        return {
            name: [action.option_strings[-1] for action in actions if action in given]
            for name, actions in self.own.items()
        }


def add_options(parser: argparse.ArgumentParser, verb: str, *, model: str = "") -> None:
    """Add the options of every domain that serves a verb, after those that all share.

    Args:
        parser: of the verb.
        verb: its name.
        model: the destination of the argument that names a model.
    """
    commands: dict[str, Command] = {
        domain.name: resolve(domain.commands[verb]) for domain in domains() if verb in domain.commands
    }
    own = {}
    for name, command in commands.items():
        group = parser.add_argument_group(command.subject) if len(commands) > 1 else parser
        options = _OwnOptions(parser, group)
        command.add_options(options)
        own[name] = options.actions
    served = _Verb(verb, model, commands, own)
    parser.set_defaults(served=served)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    if model:
        parser._optionals.conflict_handler = "resolve"  # for another --help
        parser.add_argument("-h", "--help", action=_Help, help="show this help, or that for MODEL, and exit")
    _describe(parser, served, list(commands))


def run(arguments: argparse.Namespace) -> int:
    """Run a command by the domain that it is for.

    Raises:
        HolotypeError: no domain serves the model; or what the domain raises.
    """
    verb: _Verb = arguments.served
    given, model = verb.given(arguments), verb.model_in(arguments)
    name = verb.only or _claimed(verb, arguments) or _by_task(verb, model)
    name = name or next((one for one in given if given[one]), "")
    if not name:
        if model is not None:
            find(model).open()  # raises what is wrong with it
            return wrong(verb.name, f"{plain(model)} states no task, by which its domain is found")
        return wrong(verb.name, "give a model. One of:\n  " + "\n  ".join(verb.forms()))
    for other, options in given.items():
        if other != name and options:
            return wrong(verb.name, _misplaced(verb, name, other, options[0], model))
    return verb.commands[name].run(arguments)


def wrong(verb: str, message: str) -> int:
    """Print what is wrong with a command itself, and return the exit code."""
    print(f"holotype {verb}: {message}", file=sys.stderr)
    return 2


def _claimed(verb: _Verb, arguments: argparse.Namespace) -> str:
    return next((name for name, command in verb.commands.items() if command.claims(arguments)), "")


def _by_task(verb: _Verb, model: str | None) -> str:
    """The domain of a model's task; empty if the task is not known."""
    if model is None:
        return ""
    try:
        task = find(model).task
    except HolotypeError:  # the domain that the options name says it better
        return ""
    if task is None:
        return ""
    domain = domain_of(task)
    if domain is None or domain.name not in verb.commands:
        raise DataError(
            f"{model} is a model for {task}, which 'holotype {verb.name}' does not serve.", given=model
        )
    return domain.name


def _misplaced(verb: _Verb, name: str, other: str, option: str, model: str | None) -> str:
    """The message for an option of another domain, with the nearest one of the chosen domain."""
    own, others = verb.commands[name].subject, verb.commands[other].subject
    known = [text for action in verb.own[name] for text in action.option_strings]
    close = nearest(option, known, count=1)
    instead = f"; of {own}: {close[0]}" if close else ""
    about = f", and {plain(model)} for {own}" if model is not None and not close else ""
    return f"{option} is for {others}{about}{instead}"


def _describe(parser: argparse.ArgumentParser, verb: _Verb, names: list[str]) -> None:
    """Let the help show what concerns some of the domains."""
    for name in set(verb.commands).difference(names):
        for action in verb.own[name]:
            action.help = argparse.SUPPRESS
    forms = verb.forms(*names)
    if forms:
        parser.usage = "\n       ".join(forms)
    parser.epilog = "\n\n".join(verb.commands[name].notes for name in names if verb.commands[name].notes)


class _OwnOptions:
    """Adds options of one domain to its group; an option that the verb has already is shared.

    Attributes:
        actions: what it added or shares.
    """

    def __init__(self, parser: argparse.ArgumentParser, group: Options) -> None:
        self._parser, self._group = parser, group
        self.actions: list[argparse.Action] = []

    def add_argument(self, *names: str, **how: Any) -> argparse.Action:
        """As `argparse.ArgumentParser.add_argument`."""
        known = self._parser._option_string_actions
        action = next((known[name] for name in names if name in known), None)
        self.actions.append(action or self._group.add_argument(*names, **how))
        return self.actions[-1]


class _Help(argparse.Action):
    """Prints the help; with a model named, that of its domain alone."""

    def __init__(self, *names: Any, **how: Any) -> None:
        super().__init__(
            *names, **{**how, "nargs": 0, "dest": argparse.SUPPRESS, "default": argparse.SUPPRESS}
        )

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        """Print it and end the process."""
        verb: _Verb = namespace.served
        name = _by_task(verb, verb.model_in(namespace))
        _describe(parser, verb, [name] if name else list(verb.commands))
        parser.print_help()
        parser.exit()
