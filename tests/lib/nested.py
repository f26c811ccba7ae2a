"""nested.py - a test that runs tests: what tests/run printed becomes steps."""

import re

import harness

LINE = re.compile(r"(?P<step> {4})?(?P<no>not )?ok (?:\d+ )?- (?P<name>.*?) \((?P<secs>[\d.]+) s\)(?: # SKIP (?P<why>.*))?$")


def steps(t, res, names):
    """Each test of `res` (out, code, over) as a step of t; each of `names` must have been one."""
    found = []
    for line in res.out.splitlines():
        m = LINE.match(line)
        if m:
            status = "skip" if m["why"] else "fail" if m["no"] else "ok"
            found.append(harness.Step(m["name"], status, float(m["secs"]), m["why"] or ""))
        elif found and found[-1].status == "fail":
            found[-1].text += line.replace("#   ", "", 1) + "\n"
    t.steps += found
    if getattr(res, "over", False) or res.code not in (0, 1) or (res.code == 1) != any(s.status == "fail" for s in found):
        t.fail(str(res))
    passed = {s.name for s in found}
    t.true(all(any(n in p for p in passed) for n in names), f"one of {names} is no test: {sorted(passed)}")
