"""Reference of the command line, read from the commands themselves."""

from typing import Any

import typer.main

from sparring.command.commands import app


def commands() -> str:
    """Every command with its arguments and options, as Markdown."""
    group: Any = typer.main.get_command(app)
    return "\n\n".join(_command(name, command) for name, command in group.commands.items())


def _command(name: str, command: Any) -> str:
    """One command: its usage, its help, and a table of what it takes."""
    shown = [one for one in command.params if not getattr(one, "hidden", False)]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name == "option" and one.name != "help"]
    usage = " ".join(
        [f"sparring {name}", *map(_written, arguments), *(["[OPTIONS]"] * any(options))]
    )
    parts = [f"## sparring {name}", f"```text\n{usage}\n```", _prose(command.help)]
    for title, listed in (("argument", arguments), ("option", options)):
        if listed:
            rows = [f"| {_names(one)} | {_meaning(one)} |" for one in listed]
            parts.append("\n".join([f"| {title} | meaning |", "| --- | --- |", *rows]))
    return "\n\n".join(parts)


def _prose(text: str | None) -> str:
    """Help of a command; its paragraphs, without the marks that keep line breaks in a terminal."""
    return (text or "").replace("\b\n", "").strip()


def _written(argument: Any) -> str:
    """An argument as a usage line shows it."""
    name = argument.metavar or argument.name.upper()
    name = f"{name}..." if argument.nargs != 1 or argument.multiple else name
    return name if argument.required else f"[{name}]"


def _names(parameter: Any) -> str:
    """Names of an option and its value, or the name of an argument."""
    if parameter.param_type_name == "argument":
        return f"`{_written(parameter)}`".replace("|", "\\|")
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    value = parameter.metavar or ("" if parameter.is_flag else _kind(parameter))
    return f"{names} {value}".strip().replace("|", "\\|")


def _kind(parameter: Any) -> str:
    """Kind of an option's value, in capitals."""
    kind = parameter.type_descriptor.annotation
    return {int: "INTEGER", float: "NUMBER"}.get(kind, "TEXT")


def _meaning(parameter: Any) -> str:
    """Help of a parameter, with what else is known of it."""
    text = (parameter.help or "").replace("|", "\\|")
    remarks = ["required"] * (parameter.required and parameter.param_type_name == "option")
    remarks += ["repeatable"] * (bool(parameter.multiple) and "repeatable" not in text)
    default = parameter.default
    is_shown = isinstance(default, int | float | str) and not isinstance(default, bool)
    if is_shown and "efault" not in text:
        remarks.append(f"default: `{default}`")
    return f"{text} ({'; '.join(remarks)})" if remarks else text
