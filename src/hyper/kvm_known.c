/* kvm_known.c - the KVM probe's verdict, kept for as long as it holds.
 *
 * Called by `cor create`: the probe costs 3 to 10 ms. The verdict holds for one device node (device, inode,
 * time of change: a module that is loaded anew makes a new node) in one boot of the host. Trusts: the
 * directory, which only root can write. Never: keeps a verdict that a busy machine may have caused. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/num.h"
#include "base/str.h"
#include "hyper/hyper.h"

#define KNOWN_FILE "kvm"
#define KNOWN_MAX  2048
#define BOOT_ID    "/proc/sys/kernel/random/boot_id"

/* What the verdict is about, one line. */
static int identify(int fd, struct str *to)
{
	scoped_free char *boot = NULL;
	struct stat st;
	size_t n;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (io_read_file_at(AT_FDCWD, BOOT_ID, 64, &boot, &n) < 0)
		return -ENOENT;
	boot[strcspn(boot, "\n")] = '\0';
	str_addf(to, "%s %llx:%llx %llx %lld.%09ld ", boot, (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino, (unsigned long long)st.st_rdev, (long long)st.st_ctim.tv_sec,
		 st.st_ctim.tv_nsec);
	return str_check(to);
}

/* True if `text` is a verdict about `id`: "works\n", or the reason why not. */
static bool recall(const char *text, const struct str *id, int *ret, struct err *e)
{
	if (strncmp(text, id->p, id->len) != 0)
		return false;
	text += id->len;
	if (str_eq(text, "works\n")) {
		*ret = 0;
		return true;
	}
	if (!str_starts(text, "no ") || text[strlen(text) - 1] != '\n')
		return false;
	*ret = err_set(e, -ENODEV, "%.*s", (int)(strlen(text) - strlen("no ") - 1), text + strlen("no "));
	return true;
}

static void keep(int dir, struct str *id, int verdict, const struct err *e)
{
	if (verdict != 0 && (verdict != -ENODEV || strchr(e->msg, '\n')))
		return;
	str_addf(id, verdict == 0 ? "works\n" : "no %s\n", e->msg);
	if (str_check(id) == 0)
		may_fail(io_swap_file_at(dir, KNOWN_FILE, id->p, id->len, 0600)); /* asked again next time */
}

int kvm_probe_known(const char *dev, int timeout_ms, int dir, struct err *e)
{
	scoped_fd fd = open(dev, O_RDWR | O_CLOEXEC);
	scoped_free char *text = NULL;
	scoped_str id = { 0 };
	struct err why = { 0 };
	size_t n;
	int r;

	if (fd < 0)
		return err_set(e, -errno, "%s: %m", dev);
	if (identify(fd, &id) < 0)
		return kvm_probe(dev, timeout_ms, e);
	if (io_read_file_at(dir, KNOWN_FILE, KNOWN_MAX, &text, &n) == 0 && recall(text, &id, &r, e))
		return r;
	r = kvm_probe(dev, timeout_ms, &why);
	keep(dir, &id, r, &why);
	if (r < 0 && e)
		*e = why;
	return r;
}
