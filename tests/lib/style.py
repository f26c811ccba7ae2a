"""style.py - the style lane: layout, sizes, spelling, shell scripts, Python syntax."""

import pathlib
import re
import shutil
import subprocess
import time

from runner import Totals, comment

MAX_LINES = 1000
MAX_FUNCTION = 60


def tracked(top):
    """Files git knows, plus new ones it does not ignore; without deleted ones."""
    out = subprocess.run(["git", "-C", str(top), "-c", f"safe.directory={top}", "ls-files", "-co", "--exclude-standard"],
                         capture_output=True, text=True, check=True).stdout
    return sorted({top / f for f in out.splitlines() if (top / f).is_file()})


def shebang(path):
    with open(path, "rb") as f:
        first = f.readline(100)
    return first.decode("utf-8", "replace") if first.startswith(b"#!") else ""


def run_tool(cmd, top, limit=6000):
    """None when the tool is content, else its output."""
    res = subprocess.run([str(c) for c in cmd], cwd=top, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return None if res.returncode == 0 else res.stdout.decode("utf-8", "replace")[-limit:]


def tool_check(files, cmd, tool):
    def check(top):
        if not shutil.which(tool):
            return "skip", f"{tool} is not installed"
        names = [f.relative_to(top) for f in files(top)]
        if not names:
            return "skip", "no such files"
        text = run_tool(cmd + names, top)
        return ("fail", text) if text else ("ok", "")

    return check


def c_files(top):
    return [f for f in tracked(top) if f.suffix in (".c", ".h")]


def shell_files(top):
    return [f for f in tracked(top) if re.match(r"#! ?/(usr/)?bin/(env )?(ba|da)?sh\b", shebang(f))]


def text_files(top):
    """Not the unit tests: they hold mistyped words on purpose."""
    return [f for f in tracked(top) if "tests/unit" not in str(f) and f.suffix in (".c", ".h", ".md", ".py", ".build", ".sh", ".txt", ".1", ".8", ".in")
            or (not f.suffix and shebang(f))]


def python_files(top):
    return [f for f in tracked(top) if f.suffix == ".py" or "python" in shebang(f)]


def check_format(top):
    """clang-format decides the layout; names the files that differ."""
    tool = shutil.which("clang-format-14")
    if not tool:
        return "skip", "clang-format-14 is not installed (other versions decide otherwise)"
    text = run_tool([tool, "--dry-run", "-Werror"] + [f.relative_to(top) for f in c_files(top)], top, limit=1 << 20)
    names = sorted({line.split(":")[0] for line in (text or "").splitlines() if "clang-format-violations" in line})
    return ("fail", "not as clang-format-14 -i would write it:\n" + "\n".join(names)) if text else ("ok", "")


def check_sizes(top):
    """Files below MAX_LINES, functions of the product at most MAX_FUNCTION lines."""
    bad = []
    for f in c_files(top):
        lines = f.read_text(errors="replace").splitlines()
        if len(lines) >= MAX_LINES:
            bad.append(f"{f.relative_to(top)}: {len(lines)} lines")
        if (top / "src") not in f.parents:
            continue
        start = None
        for n, line in enumerate(lines, 1):
            if line == "{":
                start = n
            elif line == "}" and start:
                if n - start - 1 > MAX_FUNCTION:
                    bad.append(f"{f.relative_to(top)}:{start}: a function of {n - start - 1} lines")
                start = None
    return ("fail", "\n".join(bad)) if bad else ("ok", "")


def check_opening(top):
    """Every C file says at its top what it is for."""
    bad = [str(f.relative_to(top)) for f in c_files(top) if not f.read_text(errors="replace").startswith("/*")]
    return ("fail", "no opening comment:\n" + "\n".join(bad)) if bad else ("ok", "")


def check_includes(top):
    tool = top / "tools/checkdeps"
    if not tool.exists():
        return "fail", "tools/checkdeps is missing"
    text = run_tool([tool], top)
    return ("fail", text) if text else ("ok", "")


CHECKS = (
    ("clang-format", check_format),
    ("shellcheck", tool_check(shell_files, ["shellcheck"], "shellcheck")),
    ("codespell", tool_check(text_files, ["codespell", "-L", "inh,crate,te,fo,ot,nd,ans,childs,memroy"], "codespell")),
    ("pyflakes", tool_check(python_files, ["pyflakes3"], "pyflakes3")),
    ("sizes of files and functions", check_sizes),
    ("opening comments", check_opening),
    ("who includes whom", check_includes),
)


def run(top):
    top = pathlib.Path(top)
    totals = Totals()
    for name, check in CHECKS:
        begin = time.monotonic()
        status, text = check(top)
        totals.count(status, f"style/{name}", time.monotonic() - begin, text if status == "skip" else "")
        if status == "fail":
            comment(text)
    return totals
