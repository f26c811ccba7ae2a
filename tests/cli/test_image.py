"""`cor run --image` before there is a VM: both grammars, the store, images that can't be run. What a container of an image sees
is tests/vm/test_image.py's."""

import json
import os

import bundle
from harness import case
from imagelib import Store, config, entry, oci, run, tar, use

COR = ("cor",)


def refused(t, *argv, says, **kw):
    r = run(t, *argv, **kw)
    t.eq(r.code, 1, r.err)
    t.has(r.err, *says)
    t.eq(t.rt.states(), [])


def make(t, store, name, conf=None, layers=None):
    layers = layers or [tar(entry("f", name.encode()))]
    path = t.dir / (name + "-oci")
    path.mkdir()
    oci(path, layers, config(*layers, config=conf or {}), pack=bytes)
    return store.load(path, "--name", name)


@case(only=COR, quick=True)
def test_refused(t):
    """Each names what is wrong and what to do, and leaves nothing."""
    store = Store(t)
    use(t, store)
    with t.step("no store"):
        refused(t, says=(str(store.root), "'cor-image import' makes it"))
    got = make(t, store, "demo", {"Cmd": ["/f"]})
    with t.step("no such image; an id's beginning that is too short"):
        refused(t, image="none", says=("no image 'none' in", "cor-image ls"))
        refused(t, image=got["id"][:5], says=("no image",))
    make(t, store, "silent")
    with t.step("no command"):
        refused(t, image="silent", says=("image silent names no command", "cor run --image silent -- COMMAND"))
    with t.step("options"):
        refused(t, "-e", "A", says=("--env A: must be KEY=VALUE",))
        refused(t, "-w", "rel", says=("--workdir rel: must be an absolute path",))
        refused(t, "-v", "/no/such:/x", says=("--volume /no/such:/x: /no/such: No such file",))
        refused(t, "--cpus", "many", says=("--cpus many",))
        refused(t, "--bundle", t.dir, says=("--image and --bundle exclude each other",))
    with t.step("a configuration of wrong types"):
        make(t, store, "odd", {"Cmd": "not a list"})
        refused(t, image="odd", says=("image odd: config.Cmd: must be an array, found a string",))
    with t.step("-t with --detach needs somewhere for the terminal"):
        refused(t, "-t", "-d", says=("--detach needs --console-socket",))


@case(only=COR, quick=True)
def test_damaged(t):
    """Files of the store that are not what they were."""
    store = Store(t)
    use(t, store)
    got = make(t, store, "demo", {"Cmd": ["/f"]})
    layer = store.root / "layers" / (got["layers"][0]["diff_id"][7:] + ".erofs")
    conf = store.root / "images" / got["id"]
    with t.step("the configuration"):
        text = conf.read_bytes()
        conf.write_bytes(text.replace(b"/f", b"/g"))
        refused(t, says=("is damaged: its digest is", "import it again"))
        conf.write_bytes(text)
    with t.step("a layer that was cut"):
        data = layer.read_bytes()
        layer.chmod(0o600)
        layer.write_bytes(data[:-1])
        refused(t, says=("image demo: ", "is damaged: import the image again after 'cor-image gc'"))
    with t.step("one larger than the VM's kernel can keep book of"):
        layer.write_bytes(data)
        os.truncate(layer, 20 << 30)
        refused(t, globals_=("--set", "vm.memory=256M"), says=("needs 320 MB of it to map images of 20480 MB", "--memory"))
    with t.step("a layer that is no file system"):
        layer.write_bytes(bytes(len(data)))
        refused(t, says=("no EROFS file system",))
    with t.step("a layer that is gone"):
        layer.unlink()
        refused(t, says=("image demo: ", "No such file or directory"))


@case(only=COR, quick=True)
def test_convert_refused(t):
    """image.convert, where it can't be: the container gets its directory, and a warning says why."""
    t.rt.globals = t.rt.globals + ["--set", f"image.store={t.path('store')}", "--set", "image.convert=true"]
    c = t.rt.container(bundle.config("cat /etc/hosts; echo mine > /etc/hosts"))

    def shared(*says, extra=()):
        (c.rootfs / "etc/hosts").write_text("theirs\n")
        r = c.run(globals_=extra)
        t.eq((r.code, r.out), (0, "theirs\n"), r.err)
        t.eq((c.rootfs / "etc/hosts").read_text(), "mine\n")
        t.has(r.err, "image.convert: root.path", "is shared as a directory", *says)
        t.eq(t.rt.states(), [])

    with t.step("something is mounted in it"):
        t.run(["mount", "--bind", t.dir, c.rootfs / "mnt"], check=0)
        shared("/rootfs/mnt is mounted in it")
        t.run(["umount", c.rootfs / "mnt"], check=0)
    with t.step("hooks that could write to it"):
        for hook in ("prestart", "createRuntime", "createContainer"):
            conf = json.loads((c.bundle / "config.json").read_text())
            conf["hooks"] = {hook: [{"path": "/bin/true"}]}
            bundle.write_config(c.bundle, conf)
            shared(f"a {hook} hook may write to it")
        del conf["hooks"]
        bundle.write_config(c.bundle, conf)
    with t.step("the store can't be made"):
        (t.dir / "file").write_text("")
        shared("image store", extra=("--set", f"image.store={t.dir}/file/store"))
    with t.step("deeper than is looked"):
        path = c.rootfs
        for _ in range(140):
            path = path / "d"
        path.mkdir(parents=True)
        shared("is more than 128 directories deep")
