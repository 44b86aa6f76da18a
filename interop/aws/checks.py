"""Counts what held and prints what did not."""


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, holds: object, what: str, detail: str = "") -> bool:
        if holds:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAIL aws: {what}" + (f"\n      {detail.strip()[-2000:]}" if detail.strip() else ""), flush=True)
        return bool(holds)
