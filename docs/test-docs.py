#!/usr/bin/python3
"""test-docs.py - do the manual pages and the completion say what the programs take? (TAP)

    test-docs.py COR COR-IMAGE COR-VMM SETTINGS-SOURCE GENERATED-DIR

The truth is asked from the programs (--help) and from the settings table's source, not from the
generator that wrote the documents.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

COR, IMAGE, VMM, SETTINGS, DOCS = *sys.argv[1:4], *map(pathlib.Path, sys.argv[4:6])
count = 0


def report(good, name, detail=""):
    global count
    count += 1
    print(f"{'ok' if good else 'not ok'} {count} - {name}")
    for line in detail.splitlines():
        print(f"# {line}")


def skip(name, why):
    global count
    count += 1
    print(f"ok {count} - {name} # SKIP {why}")


def run(*argv, **kw):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **kw)


def options_of(*argv):
    return re.findall(r"^ +(?:-\w, )?--([\w-]+)", run(*argv).stdout, re.M)


def page(name):
    return (DOCS / name).read_text().replace("\\-", "-")


def missing(words, text):
    return [w for w in words if w not in text]


def check_cor():
    top = run(COR, "--help").stdout
    verbs = re.findall(r"^  (\w+) ", top.split("Commands:")[1].split("Options:")[0], re.M)
    report(len(verbs) > 15, "the program lists its commands", " ".join(verbs))
    text, bash = page("cor.1"), page("cor")
    sections = dict(re.findall(r"^\.SS cor (\w+).*\n((?:.*\n)*?)(?=\.S[SH] )", text, re.M))
    branches = dict(re.findall(r"^\t(\w+)\) options='(.*)' ;;$", bash, re.M))
    lost = [f"--{o}" for o in options_of(COR, "--help") if f"--{o}\\fR" not in text or f"--{o}" not in bash]
    for verb in verbs:
        names = options_of(COR, verb, "--help")
        if verb in ("checkpoint", "restore"):
            names = ["image-path", "work-path"]  # their --help fails, as callers expect
        lost += [f"cor.1: {verb} --{o}" for o in names if f"\\fB--{o}\\fR" not in sections.get(verb, "")]
        lost += [f"completion: {verb} --{o}" for o in names if f"--{o}" not in branches.get(verb, "").split()]
        lost += [] if names else [f"{verb} --help names no option"]
    report(not lost, "cor.1 and the completion name every option of every command", "\n".join(lost))


def check_settings():
    keys = re.findall(r'^\t\{ "([\w.]+)", 0, OPT_', SETTINGS.read_text(), re.M)
    lost = [k for k in keys if f"\\fB{k}\\fR = " not in page("cor.conf.5")]
    report(len(keys) > 10 and not lost, "cor.conf.5 names every key", " ".join(lost or keys))
    lost = [k for k in keys if f"{k}=" not in page("cor")]
    report(not lost, "the completion knows every key of --set", " ".join(lost))


def check_image():
    text = run(IMAGE, "--help").stdout
    names = re.findall(r"--[a-z][\w-]+", text)
    lost = [n for n in names if n not in page("cor-image.1")]
    report(len(names) > 5 and not lost, "cor-image.1 names every option", "\n".join(lost))


def check_vmm():
    """Options and verbs, each with its own paragraph; the completion names the same and no other."""
    text, bash = page("cor-vmm.1"), page("cor-vmm")
    names = options_of(VMM, "--help")
    verbs = re.search(r" ctl SOCKET (\S+( SIZE)?\S+)", run(VMM, "--help").stdout).group(1).replace(" SIZE", "").split("|")
    lost = [n for n in names if f"\\fB--{n}\\fR" not in text]
    lost += [v for v in verbs if not re.search(rf'^\.B[RI]? .*\b{v}\b', text.split(".SH VERBS")[1].split(".SH ")[0], re.M)]
    report(len(names) > 15 and len(verbs) > 5 and not lost, "cor-vmm.1 names every option and verb", " ".join(lost or verbs))
    known = [re.findall(r"--([\w-]+)", re.search(r"options='([^']*)'", bash).group(1)),
             re.search(r"verbs='(.*)'", bash).group(1).split()]
    report(known == [names, verbs], "the completion of cor-vmm names every option and verb", f"{known}\n{[names, verbs]}")


def check_layout(name):
    if not shutil.which("man") or not shutil.which("groff"):
        return skip(f"{name} is clean for man --warnings", "man-db or groff is not installed")
    env = dict(os.environ, LC_ALL="C.UTF-8", MANWIDTH="80", MANROFFSEQ="")
    argv = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(DOCS / name)]
    res = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, env=env)
    good = res.returncode == 0 and len(res.stdout) > 1000 and not res.stderr
    return report(good, f"{name} is clean for man --warnings", res.stderr)


STUBS = """
_init_completion() { cur=${COMP_WORDS[COMP_CWORD]}; prev=${COMP_WORDS[COMP_CWORD-1]}; words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; }
_filedir() { COMPREPLY=("file$1"); }
compopt() { :; }
cor() { [[ "$*" == *"list --quiet"* ]] && echo "one two${3:+ three}"; }
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "_${1/-/_}"
echo "${COMPREPLY[@]}"
"""


def check_completion():
    cases = [
        (["cor", "sta"], "start state"),
        (["cor", "--cgroup-m"], "--cgroup-manager"),
        (["cor", "--log-format", "j"], "json"),
        (["cor", "--root", ""], "file-d"),
        (["cor", "--set", "vm.vcpus"], "vm.vcpus= vm.vcpus_max="),
        (["cor", "delete", "--f"], "--force"),
        (["cor", "delete", "t"], "two"),
        (["cor", "--root", "/x", "kill", "t"], "two three"),
        (["cor", "list", "--format", "t"], "table"),
        (["cor", "check", "--format", ""], "text json"),
        (["cor", "run", "--pid-file", ""], "file"),
        (["cor", "create", "o"], ""),
        (["cor", "help", "fea"], "features"),
        (["cor-vmm", "r"], "run"),
        (["cor-vmm", "run", "--memory-"], "--memory-file"),
        (["cor-vmm", "run", "--console", "p"], "pty"),
        (["cor-vmm", "run", "--disk", ""], "file"),
        (["cor-vmm", "run", "--cpus", ""], ""),
        (["cor-vmm", "ctl", ""], "file"),
        (["cor-vmm", "ctl", "socket", "re"], "resume"),
    ]
    wrong = []
    for words, want in cases:
        res = run("bash", "-c", STUBS, "bash", str(DOCS / words[0]), *words)
        if res.stdout.strip() != want:
            wrong.append(f"{words}: {res.stdout.strip()!r}, expected {want!r}")
    report(not wrong, "the completion completes", "\n".join(wrong))


# Completes each line behind $1 as the Tab key would, in one shell at a terminal, and prints what is offered.
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
until_end() { local all= part; while [[ $all != *'<end>'* ]]; do zpty -r shell part || break; all+=$part; done; print -rn -- "$all"; }
zpty -w shell 'PS1= PS2= PROMPT_EOL_MARK=; stty columns 500; unsetopt zle_bracketed_paste 2>/dev/null; source '"$1"'; print -r -- "<"end">"'
until_end >/dev/null
shift
for line; do zpty -wn shell "$line"$'\t'; until_end; zpty -wn shell $'\x15'; done
zpty -d shell
"""
ZSH_SET_UP = r"""
fpath=(%s $fpath)
autoload -Uz compinit
compinit -u -D
cor() { [[ "$*" == *"list --quiet"* ]] && print -l one two ${3:+three}; }
cor-image() { print -l NAME "app  1" "base  2"; }
offered() {
    local -a all
    compadd() {
        local -a got
        if [[ " ${(j: :)@[1,(i)(-|--)]}" == *" -"[OAD]* ]]; then builtin compadd "$@"; return; fi
        builtin compadd -O got "$@"
        all+=("${got[@]}")
        builtin compadd "$@"
    }
    _main_complete
    unfunction compadd
    print -r -- "<list>$all<list><"end">"
    compstate[list]= compstate[insert]=
}
zle -C offered complete-word offered
bindkey '^I' offered
"""


def check_zsh():
    """What zsh itself offers. It names every option, with the bash one's words, and no other."""
    name = "zsh's completion completes"
    if not shutil.which("zsh"):
        return skip(name, "zsh is not installed")
    cases = [
        ("cor sta", "start state"),
        ("cor --cgroup-m", "--cgroup-manager"),
        ("cor --log-format j", "json"),
        ("cor --set vm.vcpus", "vm.vcpus= vm.vcpus_max="),
        ("cor delete --f", "--force"),
        ("cor delete t", "two"),
        ("cor --root /x kill t", "two three"),
        ("cor list --format t", "table"),
        ("cor check --format ", "text json"),
        ("cor run --image ", "app base"),
        ("cor create o", ""),
        ("cor help fea", "features"),
    ]
    wrong = []
    with tempfile.TemporaryDirectory() as top:
        top = pathlib.Path(top)
        (top / "functions").mkdir()
        (top / "functions/_cor").write_text(page("_cor"))
        (top / "tree/some-dir").mkdir(parents=True)
        (top / "tree/some-file").touch()
        (top / "set-up").write_text(ZSH_SET_UP % (top / "functions"))
        cases += [(f"cor --root {top}/tree/", "some-dir"), (f"cor run --pid-file {top}/tree/", "some-dir some-file")]
        res = run("zsh", "-fc", ZSH, "zsh", str(top / "set-up"), *(line for line, _ in cases),
                  env=dict(os.environ, ZDOTDIR=str(top), TERM="dumb"))
        offered = res.stdout.split("<list>")[1::2]
        if len(offered) != len(cases):
            wrong.append(res.stdout)
        for (line, want), got in zip(cases, offered):
            if set(got.split()) != set(want.split()):
                wrong.append(f"{line!r}: {got!r}, expected {want!r}")
    return report(not wrong, name, "\n".join(wrong))


def check_zsh_words():
    """Both completions are made from one table; here they are compared."""
    def words(text):
        return sorted(set(re.findall(r"--[\w-]+", text)))

    bash, zsh = page("cor"), page("_cor")
    branches = dict(re.findall(r"^\t(\w+)\) options='(.*)' ;;$", bash, re.M))
    other = {verb: " ".join(words("\n".join(re.findall(r"^\t\t'[^\[]*", text, re.M))))
             for verb, text in re.findall(r"^\t(\w+)\) options=\(\n(.*?)^\t\t\) ;;$", zsh, re.M | re.S)}
    lost = [v for v in branches if " ".join(words(branches[v])) != other.get(v)]
    report(len(branches) > 15 and not lost, "both completions know the same options", "\n".join(f"{v}: {other.get(v)}" for v in lost))


check_cor()
check_settings()
check_image()
check_vmm()
for doc in ("cor.1", "cor.conf.5", "cor-image.1", "cor-vmm.1"):
    check_layout(doc)
check_completion()
check_zsh_words()
check_zsh()
print(f"1..{count}")
