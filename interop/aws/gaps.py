"""The list of what moto lacks: operations, refusals, commands that cannot end well, facts of resources."""

import fnmatch
import tomllib
from pathlib import Path

from checks import Checks


class Gaps:
    def __init__(self, path: Path):
        data = tomllib.loads(path.read_text())
        self.operations = self.read(data, "operation", "service", "name")
        self.refusals = self.read(data, "refusal", "service", "name", "code")
        self.commands = self.read(data, "command", "line")
        self.facts = self.read(data, "fact", "path")
        self.used: set[int] = set()

    @staticmethod
    def read(data: dict, kind: str, *keys: str) -> list[dict]:
        for entry in data.get(kind, []):
            for key in (*keys, "why"):
                if not entry.get(key):
                    raise SystemExit(f"gaps.toml: an entry under {kind} has no {key}: {entry}")
        return data.get(kind, [])

    @property
    def answers(self) -> dict[tuple[str, str], tuple[int, str]]:
        """What stands for the answers of operations without which a command cannot go on."""
        return {(e["service"], e["name"]): (e.get("status", 200), e["answer"]) for e in self.operations if "answer" in e}

    def find(self, entries: list[dict], **values: str) -> dict | None:
        """The entry with these values; patterns with * match. It counts as used."""
        found = None
        for entry in entries:
            if all(fnmatch.fnmatchcase(value, entry[key]) for key, value in values.items()):
                self.used.add(id(entry))
                found = found or entry
        return found

    def check_used(self, checks: Checks) -> None:
        for entry in (*self.operations, *self.refusals, *self.commands, *self.facts):
            what = {key: value for key, value in entry.items() if key not in ("why", "answer", "status")}
            checks.check(id(entry) in self.used, f"gaps.toml lists {what}, which is no gap any more")
