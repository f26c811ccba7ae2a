#!/usr/bin/env python3
"""test_checkdeps.py - tools/checkdeps finds what it promises to find, and nothing in a clean tree."""

import pathlib
import subprocess
import sys
import tempfile

TOOL = pathlib.Path(__file__).resolve().parent.parent.parent / "tools/checkdeps"

# file, text, what the tool says about it (None: nothing)
CASES = (
    ("src/wire/ok.c", '#include <stdio.h>\n#include "base/err.h"\n#include "wire/ok.h"\n', None),
    ("src/cmd/ok.c", '#include "runtime/a.h"\n', None),
    ("src/base/up.c", '#include "wire/msg.h"\n', "base may not include wire"),
    ("src/agent/side.c", '  #  include "monitor/monitor.h"\n', "agent may not include monitor"),
    ("src/sys/short.c", '#include "pty.h"\n', "written relative to src/"),
    ("src/sys/dots.c", '#include "../base/err.h"\n', "sys may not include .."),
    ("src/agent/json.c", "#include <json-c/json.h>\n", "agent may not use this library"),
    ("src/monitor/seccomp.c", "#include <seccomp.h>\n", "monitor may not use this library"),
    ("src/other/new.c", "", "not in the table"),
    ("src/base/file.c", "\n" * 1000, "1000 lines"),
    ("src/vmm/all.c", "\n" * 9000, "src/vmm: 9000 lines"),
    ("src/base/nearly.c", "\n" * 999, None),
    ("src/base/function.c", "int f(void)\n{\n" + "\tx;\n" * 121 + "}\n", "a function of 121 lines, 120 are"),
    ("src/base/warned.c", "int f(void)\n{\n" + "\tx;\n" * 61 + "}\n", "warning: a function of 61 lines"),
    ("src/base/fits.c", "int f(void)\n{\n" + "\tx;\n" * 60 + "}\n", None),
)


def run_case(name, text, want):
    """None, or what is wrong."""
    with tempfile.TemporaryDirectory() as top:
        path = pathlib.Path(top) / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
        res = subprocess.run([TOOL, top], capture_output=True, text=True, check=False)
    fails = want is not None and "warning" not in want
    if res.returncode != (1 if fails else 0) or res.stderr:
        return f"exit code {res.returncode}: {res.stdout}{res.stderr}"
    if want is None:
        return f"said: {res.stdout}" if res.stdout else None
    return None if want in res.stdout and name in res.stdout else f"said: {res.stdout}; not: {want}"


def main():
    bad = 0
    print(f"1..{len(CASES)}")
    for n, (name, text, want) in enumerate(CASES, 1):
        wrong = run_case(name, text, want)
        print(f"{'not ok' if wrong else 'ok'} {n} - {name}")
        if wrong:
            print(f"# {wrong}")
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
