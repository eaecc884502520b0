"""`tinywasm completion`: a script that teaches a shell the command line, from the grammar itself."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from tinywasm.cli.grammar import grammar
from tinywasm.cli.options import Subparsers, actions_of, add_command


@dataclass(frozen=True, slots=True)
class _Option:
    """An option's spellings; `values` are its choices, None where it takes no value, empty for any."""

    names: tuple[str, ...]
    help: str
    values: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class _Command:
    """`words` are the choices of its positional arguments; without them these are files."""

    name: str
    help: str
    options: tuple[_Option, ...]
    words: tuple[str, ...]


def add_parsers(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "completion",
        "print a completion script for a shell",
        'For example: eval "$(tinywasm completion bash)", or, for fish: tinywasm completion fish | source.',
    )
    parser.add_argument("shell", choices=sorted(_SCRIPTS), help="the shell")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    commands, top = _described()
    print("\n".join(_SCRIPTS[options.shell](commands, top)))
    return 0


def _described() -> tuple[list[_Command], tuple[_Option, ...]]:
    """The commands, and the options before them. argparse has no public way to ask for either."""
    whole, subparsers = grammar()
    helps = {each.dest: each.help or "" for each in subparsers._choices_actions}
    commands = [
        _Command(name, helps.get(name, ""), _options(parser), _words(parser))
        for name, parser in subparsers.choices.items()
    ]
    return commands, _options(whole)


def _options(parser: argparse.ArgumentParser) -> tuple[_Option, ...]:
    return tuple(
        _Option(
            tuple(action.option_strings),
            action.help or "",
            None if action.nargs == 0 else tuple(map(str, action.choices or ())),
        )
        for action in actions_of(parser)
        if action.option_strings
    )


def _words(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    return tuple(
        str(choice)
        for action in actions_of(parser)
        if not action.option_strings
        for choice in action.choices or ()
    )


def _spellings(options: tuple[_Option, ...]) -> str:
    return " ".join(name for option in options for name in option.names)


def _bash(commands: list[_Command], top: tuple[_Option, ...]) -> Iterator[str]:
    yield "_tinywasm() {"
    yield "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}"
    yield "    COMPREPLY=()"
    yield "    if [ $COMP_CWORD -eq 1 ]; then"
    names = " ".join(command.name for command in commands)
    yield f'        COMPREPLY=($(compgen -W {shlex.quote(f"{names} {_spellings(top)}")} -- "$word"))'
    yield "        return"
    yield "    fi"
    yield '    case "${COMP_WORDS[1]} $before" in'
    for command in commands:
        for option in command.options:
            if option.values:
                patterns = "|".join(f"'{command.name} {name}'" for name in option.names)
                values = shlex.quote(" ".join(option.values))
                yield f'        {patterns}) COMPREPLY=($(compgen -W {values} -- "$word")); return ;;'
    yield "    esac"
    yield '    case "${COMP_WORDS[1]} $word" in'
    for command in commands:
        options = shlex.quote(_spellings(command.options))
        yield f"        '{command.name} -'*) COMPREPLY=($(compgen -W {options} -- \"$word\")) ;;"
        if command.words:
            words = shlex.quote(" ".join(command.words))
            yield f"        '{command.name} '*) COMPREPLY=($(compgen -W {words} -- \"$word\")) ;;"
    yield "    esac"
    yield "}"
    # Readline adds the names of files where none of the words fits.
    yield "complete -o default -F _tinywasm tinywasm"


def _zsh(commands: list[_Command], top: tuple[_Option, ...]) -> Iterator[str]:
    yield "#compdef tinywasm"
    yield "_tinywasm() {"
    yield "    local -a commands"
    yield "    commands=("
    for command in commands:
        yield f"        {shlex.quote(f'{command.name}:{command.help}')}"
    yield "    )"
    yield "    if (( CURRENT == 2 )); then"
    yield "        _describe command commands"
    yield f"        compadd -- {_spellings(top)}"
    yield "        return"
    yield "    fi"
    yield '    case "$words[2]" in'
    for command in commands:
        specifications = " ".join(shlex.quote(each) for each in _zsh_options(command))
        rest = shlex.quote(f"*:word:({' '.join(command.words)})" if command.words else "*:file:_files")
        yield f"        {command.name}) shift words; (( CURRENT-- )); _arguments {specifications} {rest} ;;"
    yield "    esac"
    yield "}"
    # As a file in $fpath it is the function's body; evaluated, it registers itself.
    yield 'if [ "$funcstack[1]" = "_tinywasm" ]; then _tinywasm "$@"; else compdef _tinywasm tinywasm; fi'


def _zsh_options(command: _Command) -> Iterator[str]:
    for option in command.options:
        help = option.help.replace("[", "(").replace("]", ")").replace(":", ",")
        for name in option.names:
            value = "" if option.values is None else f":value:({' '.join(option.values)})"
            if option.values == ():
                value = ":value:_files"
            yield f"*{name}[{help}]{value}"


def _fish(commands: list[_Command], top: tuple[_Option, ...]) -> Iterator[str]:
    for option in top:
        yield f"complete -c tinywasm -n __fish_use_subcommand {_fish_option(option)}"
    for command in commands:
        help = shlex.quote(command.help)
        yield f"complete -c tinywasm -f -n __fish_use_subcommand -a {command.name} -d {help}"
    for command in commands:
        seen = f"complete -c tinywasm -n '__fish_seen_subcommand_from {command.name}'"
        for option in command.options:
            yield f"{seen} {_fish_option(option)}"
        if command.words:
            yield f"{seen} -f -a {shlex.quote(' '.join(command.words))}"


def _fish_option(option: _Option) -> str:
    parts = [f"-{'l' if name.startswith('--') else 's'} {name.lstrip('-')}" for name in option.names]
    if option.values is not None:
        parts.append(f"-x -a {shlex.quote(' '.join(option.values))}" if option.values else "-r")
    return " ".join([*parts, "-d", shlex.quote(option.help)])


_SCRIPTS = {"bash": _bash, "fish": _fish, "zsh": _zsh}
