"""``holotype completion``: shell scripts, and the words that they ask for. Nothing here imports torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

SCRIPTS = {
    "bash": """\
_holotype() {
    local IFS=$'\\n'
    COMPREPLY=($(holotype __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _holotype holotype
""",
    "zsh": """\
#compdef holotype
_holotype() {
    local -a found
    found=("${(@f)$(holotype __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    compadd -a found || _files
}
compdef _holotype holotype
""",
    "fish": """\
function __holotype_words
    holotype __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null
end
complete -c holotype -n 'not __fish_seen_subcommand_from check predict' -f -a '(__holotype_words)'
complete -c holotype -n '__fish_seen_subcommand_from check predict' -a '(__holotype_words)'
complete -c holotype -n '__fish_seen_subcommand_from create' -s c -l config -r -F
""",
}
_WHERE = {
    "bash": 'eval "$(holotype completion bash)"  in ~/.bashrc',
    "zsh": 'eval "$(holotype completion zsh)"  in ~/.zshrc, after compinit',
    "fish": "holotype completion fish > ~/.config/fish/completions/holotype.fish",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("shell", choices=sorted(SCRIPTS), help="the shell that runs the script")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter  # a line for each shell
    parser.epilog = "where to put it:\n" + "\n".join(f"  {where}" for where in _WHERE.values())


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    print(SCRIPTS[arguments.shell], end="")
    return 0


def complete(words: list[str], verbs: Iterable[str]) -> int:
    """Print the words that may stand where the last of `words` is being typed."""
    *before, prefix = words or [""]
    if not before:
        found = list(verbs)
    else:
        found = _options(before[0], before[-1])
    found = [word for word in dict.fromkeys(found) if word.startswith(prefix)]
    sys.stdout.write("".join(f"{word}\n" for word in found))
    return 0


def _options(verb: str, previous: str) -> list[str]:
    from holotype.catalog.registry import default_registry as registry

    registry.use_index_only()  # pressing a key must not run what lies in this folder
    if previous in ("-t", "--task"):
        return registry.list_tasks()
    if previous in ("-z", "--zoo"):
        return [zoo.name for zoo in registry.list_zoos()]
    if verb == "completion":
        return sorted(SCRIPTS)
    if verb == "predict":
        return registry.list_pretrained_models() if previous == verb else []
    if verb == "info":
        zoos = [zoo.name for zoo in registry.list_zoos()]
        return [*registry.list_models(), *registry.list_pretrained_models(), *zoos]
    if verb == "list":
        return [*registry.list_models(), *registry.list_pretrained_models()]
    if verb == "create" and previous != verb:
        info = registry.get_model_info(previous) if registry.exists(previous) else None
        return [f"{parameter.name}=" for parameter in (info.parameters or ())] if info else []
    return registry.list_models() if verb == "create" else []
