"""Runs every case against the embedded engine and DynamoDB Local and compares the outcomes.

    compare.py --engine URL --local URL [--only PATTERN] [--verbose | --suggest]

Where the service itself differs from DynamoDB Local, differences.toml says so, by call or by
wording, and what the service answers. A difference that is not listed fails; so does a listed one
that no longer occurs, and an engine that does not give the service's answer.
"""

import argparse
import fnmatch
import json
import re
import sys
import tomllib
from pathlib import Path

import cases  # noqa: F401  registers the cases
from harness import CASES, recorder, remove_tables, run, text


class Differences:
    """The list of known differences: by case and call, and by the wording of errors."""

    def __init__(self, path: Path):
        self.entries: dict[tuple[str, int], dict] = {}
        self.wordings: list[Wording] = []
        data = tomllib.loads(path.read_text())
        for entry in data.get("difference", []):
            self.require(path, entry, "case", "service", "why")
            if entry["case"] not in CASES:
                raise SystemExit(f"{path.name}: there is no case {entry['case']!r}")
            at = (entry["case"], entry.get("call", 0))
            if at in self.entries:
                raise SystemExit(f"{path.name}: two entries for {at}")
            self.entries[at] = entry
        for entry in data.get("wording", []):
            self.require(path, entry, "local", "service", "why")
            self.wordings.append(Wording(entry))

    @staticmethod
    def require(path: Path, entry: dict, *keys: str) -> None:
        for key in keys:
            if not entry.get(key):
                raise SystemExit(f"{path.name}: an entry has no {key}: {entry}")

    def judge(self, name: str, call: int, engine: str, local: str) -> str | None:
        """What is wrong with a call, or None."""
        entry = self.entries.get((name, call))
        if entry is None:
            if engine == local or any([w.covers(engine, local) for w in self.wordings]):
                return None
            return "differs and is not listed"
        if engine != entry["service"]:
            return f"the engine does not answer as listed:\n      {entry['service']}"
        if engine == local:
            return "is listed and no longer differs"
        return None

    def unused(self) -> list[str]:
        """The wordings that no call had."""
        return [w.local.pattern for w in self.wordings if not w.used]


class Wording:
    """Two texts of one error, as regular expressions that match the whole of it."""

    def __init__(self, entry: dict):
        self.local, self.service = re.compile(entry["local"]), re.compile(entry["service"])
        self.used = 0

    def covers(self, engine: str, local: str) -> bool:
        covered = bool(self.local.fullmatch(local) and self.service.fullmatch(engine))
        self.used += covered
        return covered


def suggest(name: str, call: int, engine: str, local: str) -> None:
    """Prints a new entry for the list; the reason is for a person to find."""
    print(f"# local: {local}\n[[difference]]\ncase = {quote(name)}\ncall = {call}\nservice = {quote(engine)}\nwhy = ''\n")


def quote(value: str) -> str:
    """A TOML string."""
    if "'" not in value and value.isprintable():
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False)


def compare(name: str, engine, local, differences: Differences, args) -> list[str]:
    """The problems of one case."""
    c, problems = CASES[name], []
    got, want = run(c, engine), run(c, local)
    if len(got) != len(want):
        problems.append(f"{len(got)} calls on the engine, {len(want)} on DynamoDB Local")
    for i, (g, w) in enumerate(zip(got, want)):
        if args.verbose:
            print(f"  {name} [{i}] {g.operation} {g.request}\n      engine: {text(g.value)}\n      local:  {text(w.value)}")
        problem = differences.judge(name, i, text(g.value), text(w.value))
        if problem and args.suggest:
            suggest(name, i, text(g.value), text(w.value))
        if problem:
            problems.append(f"call {i} ({g.operation}) {problem}\n      engine: {text(g.value)}\n      local:  {text(w.value)}\n      request: {g.request}")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", required=True)
    parser.add_argument("--local", required=True)
    parser.add_argument("--only", default="*", help="pattern of case names")
    parser.add_argument("--verbose", action="store_true", help="print every call")
    parser.add_argument("--suggest", action="store_true", help="print an entry for each difference that is not listed")
    args = parser.parse_args()
    differences = Differences(Path(__file__).with_name("differences.toml"))
    engine, local = recorder(args.engine), recorder(args.local)
    passed = failed = 0
    for name in sorted(fnmatch.filter(CASES, args.only)):
        try:
            problems = compare(name, engine, local, differences, args)
        except Exception as e:  # a preparation failed: that case is lost, the others are not
            problems = [f"{type(e).__name__}: {e}"]
        if problems and args.suggest:
            failed += 1
        elif problems:
            failed += 1
            print(f"FAIL {name}")
            for problem in problems:
                print(f"    {problem}")
        else:
            passed += 1
    remove_tables(engine)
    remove_tables(local)
    if args.only == "*":
        for pattern in differences.unused():
            failed += 1
            print(f"FAIL differences.toml\n    is listed and no longer differs: {pattern}")
    listed = len(differences.entries) + sum(w.used for w in differences.wordings)
    print(f"boto3: {passed} passed, {failed} failed ({listed} calls where the service differs from DynamoDB Local)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
