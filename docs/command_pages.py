"""Pages that `make docs` makes of the command line: one for each command, from the code that reads its options."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

PROGRAM = "astra"
ALL_COMMANDS = "commands/index.md"
LONGEST = 45
"""Characters of an option and its choices that stay on one line of a table."""


def command_pages() -> dict[str, str]:
    """Make a page for each command of ``astra``, and one that lists them: paths below docs/, and their Markdown."""
    groups = dict(commands())
    made = {page_of(names): command_page(names, context) for names, context in groups.items()}
    return {ALL_COMMANDS: list_page(groups)} | made


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Give the words of each command that does something, and its context, in the order of the help."""
    from typer.main import get_command

    from astra_orchestration.cli.main import app

    group = get_command(app)
    yield from below((), group, group.context_class(group, info_name=PROGRAM, **group.context_settings))


def below(names: tuple[str, ...], command: Any, context: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Give a command, or those of a group."""
    if not hasattr(command, "list_commands"):
        yield names, context
        return
    if names and command.callback is not None and getattr(command, "invoke_without_command", False):
        yield names, context
    for name in command.list_commands(context):
        each = command.get_command(context, name)
        if not each.hidden:
            yield from below((*names, name), each, each.context_class(each, info_name=name, parent=context))


def page_of(names: Sequence[str]) -> str:
    """Give the path of a command's page."""
    return f"commands/{'-'.join(names)}.md"


def title(names: Sequence[str]) -> str:
    """Write a command as one types it."""
    return " ".join((PROGRAM, *names))


def list_page(groups: dict[tuple[str, ...], Any]) -> str:
    """List all commands."""
    words = f"Every command of `{PROGRAM}`. `{PROGRAM} COMMAND --help` says in the terminal what its page says here."
    rows = [
        f"| [`{title(names)}`]({page_of(names).removeprefix('commands/')}) | {first_sentence(context.command)} |"
        for names, context in groups.items()
    ]
    return "\n".join(["# Commands", "", words, "", "| command | what it does |", "| --- | --- |", *rows, ""])


def first_sentence(command: Any) -> str:
    """Give the first paragraph of a command's help, in one line."""
    return cell(plain(command.help or "").split("\n\n")[0])


def command_page(names: Sequence[str], context: Any) -> str:
    """Describe a command: how it is called, what it does, its arguments and options, an example."""
    command = context.command
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
    lines = [f"# {title(names)}", "", "```", usage, "```", "", paragraphs(command.help or ""), ""]
    for heading, kind in (("Arguments", "argument"), ("Options", "option")):
        records = [each.get_help_record(context) for each in command.get_params(context) if is_shown(each, kind)]
        rows = [f"| {said(record[0])} | {cell(plain(record[1]))} |" for record in records if record]
        if rows:
            lines += [f"## {heading}", "", "| | |", "| --- | --- |", *rows, ""]
    if command.epilog:
        lines += ["## Example", "", "```console", *(f"$ {each}" for each in examples(command.epilog)), "```", ""]
    return "\n".join(lines)


def is_shown(parameter: Any, kind: str) -> bool:
    """Tell whether the help shows a parameter, as an argument or as an option."""
    return parameter.param_type_name == kind and not getattr(parameter, "hidden", False)


def examples(epilog: str) -> list[str]:
    """Give the commands of an epilog: what is bold in it, or all after its heading."""
    bold = re.findall(r"\[bold\](.+?)\[/(?:bold)?\]", epilog, re.DOTALL)
    return [" ".join(each.split()) for each in bold] or [plain(epilog).removeprefix("Example: ").strip()]


def plain(text: str) -> str:
    """Turn what rich prints in bold into code, and leave its other marks out."""
    text = re.sub(r"\[bold\](.+?)\[/(?:bold)?\]", r"`\1`", text, flags=re.DOTALL)
    text = re.sub(r"(?<!\\)\[/?(?:dim|italic|cyan|green|red|yellow)?\]", "", text)
    return text.replace("\\[", "[").replace("``", "`")


def paragraphs(text: str) -> str:
    """Give a help's paragraphs as Markdown."""
    return "\n\n".join(" ".join(each.split()) for each in plain(text).split("\n\n"))


def said(names: str) -> str:
    """Give the names of a parameter as code in a table; a long list of choices apart, on several lines if need be."""
    name, _, choices = names.strip().partition(" <")
    parts = [name, f"<{choices}"] if len(names) > LONGEST and choices else [names.strip()]
    return " ".join(f"`{part}`" for part in parts).replace("|", "\\|")


def cell(text: str) -> str:
    """Put text into one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


# ---- what mkdocs calls


def on_config(config: Any) -> Any:
    """Add the commands to the contents."""
    listed: list[Any] = [ALL_COMMANDS, *({title(names): page_of(names)} for names, _ in commands())]
    config.nav.append({"Commands": listed})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to those that are files."""
    from mkdocs.structure.files import File

    for path, text in command_pages().items():
        files.append(File.generated(config, path, content=text))
    return files
