"""Prints the failures of `go test -json` and a closing line with counts.

    gosummary.py FILE

Subtests are counted one by one. Exits with 1 when a test or package failed, or when nothing ran.
"""

import json
import sys
from collections import defaultdict


def main(path: str) -> int:
    output: dict[tuple, list[str]] = defaultdict(list)
    results = {"pass": 0, "fail": 0, "skip": 0}
    broken = []
    with open(path) as lines:
        for line in lines:
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                print(line, end="")  # the toolchain's own words
                continue
            package = event.get("Package") or event.get("ImportPath", "")
            test = event.get("Test")
            action = event["Action"]
            if action in ("output", "build-output"):
                output[package, test].append(event["Output"])
            elif action in ("fail", "build-fail") and test is None:
                broken.append(package)
                print("".join(output[package, None]), end="")
            elif test is not None and action in results:
                results[action] += 1
                if action == "fail":
                    print(f"FAIL {package} {test}\n" + "".join(output[package, test]), end="")
    print(f"go: {results['pass']} passed, {results['fail']} failed, {results['skip']} skipped")
    return 1 if broken or results["fail"] or not results["pass"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
