"""Overrides as people type them: paths are quoted for Hydra, and its errors are explained."""

from __future__ import annotations

import difflib
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from sweep.jobs import config

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Settings whose value is a path, as `badnet.path=FILE`.
_PATH = re.compile(
    r"(\+{0,2}(?:badnet\.path|cache\.folder|paths\.\w+|hydra\.sweep\.dir|trigger|"
    r"dataset\.(?:badnet|images|(?:clean|poisoned)_(?:valid|test)(?:\.\w+)?))=)(.+)",
    re.DOTALL,
)
_PLAIN = re.compile(r"[A-Za-z0-9_./+@%-]*")


def quote_paths(argument: str) -> str:
    """An override as Hydra takes it, where its value is a path with characters that Hydra parses.

    A comma parts two paths, as in all sweeps, unless a file has it in its name. What is quoted
    already, and `${...}`, is left as it is. `~` is the home folder. `trigger.at` is taken for
    `trigger_at`: in Hydra a setting with a value, as `trigger` is, has no parts.
    """
    argument = re.sub(r"^trigger\.at=", "trigger_at=", argument)
    found = _PATH.fullmatch(argument)
    if found is None:
        return argument
    start, value = found.groups()
    if value[0] in "'\"[{" or "${" in value:
        return argument
    whole = Path(value).expanduser().exists()
    return start + ",".join(_quoted(part) for part in ([value] if whole else value.split(",")))


def flags_first(words: Iterable[str]) -> list[str]:
    """The command line with its flags in front: Hydra takes no override behind one that is not."""
    return sorted(words, key=lambda word: word[:1] == "~" or (word[:1] != "-" and "=" in word))


def _quoted(value: str) -> str:
    if value.startswith("~"):
        value = str(Path(value).expanduser())
    return value if _PLAIN.fullmatch(value) else quote(value)


def quote(text: str) -> str:
    """A text as a value that Hydra takes as it is."""

    # In Hydra's quotes a backslash means itself, but in front of a quote.
    def escape(found: re.Match[str]) -> str:
        return found[1] * 2 + found[2].replace("'", r"\'")

    return "'" + re.sub(r"(\\*)('|$)", escape, text) + "'"


def explain(error: Exception) -> str:
    """Hydra's words on a wrong override as the rule, what was received and the choices."""
    text = "\n".join(str(e) for e in (error, error.__cause__) if e is not None)
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        return _unknown(unknown[1])
    choice = re.search(r"Could not find '([^']+)/([^/']+)'\s+Available options in '[^']+':", text)
    if choice:
        group, value = choice.groups()
        options = ", ".join(re.findall(r"^\t(\S+)$", text, re.MULTILINE))
        return f"{group} must be one of {options}. Received: {group}={value}."
    wrong = re.search(r"full_key: (\S+)", text)
    if wrong:
        lines = text.splitlines()
        reason = next((line for line in lines if "alue '" in line), lines[0]).strip()
        merged = re.fullmatch(r"Error merging override (.+)", reason)
        if merged:  # Hydra gives no reason
            rule = next((words for name, _, words in settings() if name == wrong[1]), "")
            return f"{wrong[1]} must be {rule or 'a group of settings'}. Received: {merged[1]}."
        percent = re.search(r"'(\d+(?:\.\d+)?)\s*%'", reason)
        hint = f" {percent[1]}% is {float(percent[1]) / 100:g}." if percent else ""
        return f"{wrong[1]} cannot take that value: {reason}.{hint}"
    odd = re.search(r"(?:alternative at|mismatched|extraneous) input '(.*?)'(?=\s|$)", text)
    odd = odd or re.search(
        r"token recognition error at: '(.*)'|LexerNoViableAltException: (.*)", text
    )
    if odd:
        return (
            "an override must have its brackets and quotes closed, and odd characters in quotes "
            f"within quotes. Received: {odd[odd.lastindex or 0]}. "
            "Close them, or write \"NAME='VALUE'\"."
        )
    return " ".join(text.split())


def _unknown(name: str) -> str:
    if (config.folder() / name).is_dir():
        return (
            f"{name} is not a setting but a group of settings that is added. "
            f"Received: {name}=... Write +{name}=..."
        )
    known = sorted(setting for setting, *_ in settings())
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{name} is not a setting.{hint} Settings: {', '.join(known)}."


def settings() -> list[tuple[str, str, str]]:
    """Every setting's name, default and what it is; those without words are set by a sweep."""
    tree = OmegaConf.structured(config.Config)
    tree.criterion = OmegaConf.structured(config.Criterion)
    leaves: dict[str, tuple[str, str, str]] = {}
    for kind in config.DATASETS.values():
        tree.dataset = OmegaConf.structured(kind)
        leaves |= {leaf[0]: leaf for leaf in _leaves(tree, "") if leaf[2] or leaf[0] not in leaves}
    return list(leaves.values())


def _leaves(tree: DictConfig, prefix: str) -> Iterator[tuple[str, str, str]]:
    kind: Any = OmegaConf.get_type(tree) or object
    words = {part.name: part.metadata.get("help", "") for part in fields(kind)}
    for key in map(str, tree):
        missing = OmegaConf.is_missing(tree, key)
        value = None if missing else tree[key]
        if isinstance(value, DictConfig) and OmegaConf.get_type(value) is not dict:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            default = "" if value is None else str(getattr(value, "name", value))
            yield f"{prefix}{key}", default, words[key]


def help_text() -> str:
    """What `python -m sweep --help` prints."""
    folder = config.folder()
    groups = sorted({path.parent for path in folder.rglob("*.yaml")} - {folder})
    lines = [
        "python -m sweep NAME=VALUE[,VALUE...] ... -m",
        "",
        "Prunes a backdoored network B for every combination of the values given, and tracks the",
        "results in MLflow. For example:",
        "",
        "    python -m sweep ordering=increasing,decreasing drop=0.02,0.04,0.10 -m",
        "    python -m sweep dataset=lab plan=true          what would run, and how long it takes",
        "    python -m sweep dataset=files --cfg job        the configuration that would run",
        "    python -m sweep +study=search -m               let Optuna search",
        "",
        "Groups of settings, of which one is chosen by GROUP=NAME (+study=NAME):",
        "",
    ]
    for group in groups:
        names = ", ".join(sorted(path.stem for path in group.glob("*.yaml")))
        lines.append(f"    {group.relative_to(folder)}: {names}")
    lines += ["", "Settings, with their defaults:", ""]
    lines += [
        f"    {f'{name}={default}':<38} {words}" for name, default, words in settings() if words
    ]
    return "\n".join([*lines, "", "--hydra-help explains Hydra's own flags, --version prints it."])
