"""guestinfo.py - reads what a container prints about itself: /proc/self/mountinfo and divided output."""


class Mount:
    def __init__(self, line):
        left, _, right = line.partition(" - ")
        f = left.split()
        self.root, self.dest = f[3], f[4]
        self.options = set(f[5].split(","))
        self.optional = f[6:]
        kind = right.split()
        self.type, self.source = kind[0], kind[1]
        self.super = set(kind[2].split(","))

    @property
    def propagation(self):
        words = sorted(o.split(":")[0] for o in self.optional)
        return " ".join(w for w in words if w != "propagate_from") or "private"


def mounts(text):
    """mountinfo text -> {destination: Mount}; the topmost one where several are stacked."""
    return {m.dest: m for m in (Mount(line) for line in text.splitlines() if " - " in line)}


def sections(text):
    """Lines "== name" divide a script's output: {name: text}."""
    found, name = {}, None
    for line in text.splitlines():
        if line.startswith("== "):
            name = line[3:]
            found[name] = ""
        elif name is not None:
            found[name] += line + "\n"
    return found
