/* keeper.c - the process of a VM that waits: a monitor without a container (plan.keeper).
 *
 * It restores a clone, lets it rehearse, and waits behind a socket (hyper/pool.h). The first who asks is
 * given the VM's channels; from then on only the parent's duties are left: kill the VM when its new owner's
 * connection ends, and tell the owner of the VM's end. It ends with the VM.
 *
 * Of a VM that can be copied (plan.vm.forkable) everybody who asks gets a copy, in a mount namespace of its
 * own with an empty share, and the VM waits on. The keeper then ends when nothing waits and the last copy has
 * ended.
 *
 * The rehearsal is one container from begin to end, through the same messages as any: software emulation
 * translates code when it first runs, and touches pages of the template then. Its root is a file system of
 * its own, mounted in the still empty share as any container's, its program a copy of this one. Afterwards
 * the agent waits for a first message as if nothing had been (agent/rehearse.c), and the share is empty
 * again.
 *
 * A keeper that learns (plan.learn) only rehearses: it writes down which pages of the template that took
 * (hyper/hot.h), and ends with its VM.
 *
 * The VM waits no longer than its template is there, and WAIT_MAX_S. Distrusts: the guest, as guest.c does; a
 * rehearsal that does not end as it should ends the VM. Trusts: who can reach the socket (root). */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/log.h"
#include "hyper/pool.h"
#include "monitor/priv.h"
#include "sys/mnt.h"
#include "sys/proc.h"
#include "sys/share.h"

#define ROOT            "rootfs" /* of the rehearsal, in the share */
#define REHEARSE_MAX_MS 20000
#define SETTLE_MS       5000 /* the guest reports free memory 2 to 4 s after it came to rest */
#define WAIT_MAX_S      86400u
#define PROGRAM_MAX     (4u << 20)
#define ASK_MS          1000 /* for the word of somebody who has connected */
#define END_MS          1000 /* for the end of a VM whose channel has ended */

/* A VM that was taken, or a copy of the one that waits: our child, until it ends or its owner does. */
struct charge {
	struct keeper *k;
	struct hv *hv;
	int owner;  /* connection of who has taken it; -1 */
	int mounts; /* a copy's mount namespace, which must not end before it; -1 */
	struct source vm, owner_src;
	struct charge *next;
};

struct keeper {
	struct monitor *m;  /* m->hv: the VM that waits, NULL when it has been given away or has ended */
	const char *name;   /* of the socket, and of the share's directory */
	int template_watch; /* inotify: the template goes away */
	int ender; /* connection of who has asked for the end: closed when nothing waits and what could be
		      removed is; -1 */
	uint32_t request; /* of the rehearsal that is under way */
	bool settling;    /* the rehearsal is over, the guest not yet at rest */
	bool ready;       /* it can be taken */
	bool copies;      /* who asks gets a copy */
	struct charge *charges;
	struct source vm, watch, listen;
	struct timer timer;
};

/* Nobody else can take it or finds its name. */
static void stop_waiting(struct keeper *k)
{
	struct monitor *m = k->m;

	loop_del(&k->listen);
	loop_del(&k->watch);
	loop_timer_del(&k->timer);
	scope_close(&m->listen_fd);
	m->listen_fd = -1;
	(void)unlinkat(m->state_fd, k->name, 0); /* gone with the template's directory, perhaps */
}

/* What waited ends; what was taken of it goes on, and the keeper with it. */
static void retire(struct keeper *k)
{
	struct monitor *m = k->m;

	stop_waiting(k);
	loop_del(&k->vm);
	hv_free(m->hv);
	m->hv = NULL;
	if (!k->charges) {
		loop_stop(&m->loop);
		return;
	}
	scope_close(&k->ender);
	k->ender = -1;
}

static void end(struct keeper *k, int code, const char *why)
{
	struct err e;

	if (k->ready) {
		retire(k);
		return;
	}
	(void)err_set(&e, code, "the VM can't wait: %s", why);
	monitor_hear(k->m);
	monitor_failed(k->m, &e);
	loop_stop(&k->m->loop);
}

/* Tells the maker that the VM is as it was asked for; r < 0 and *e: why it is not. */
static bool report(struct keeper *k, int r, const struct err *e)
{
	if (r == 0)
		r = ctl_send(k->m->sync_fd, MSG_S_CREATED, NULL, NULL, NULL, 0);
	if (r < 0)
		end(k, r, e->code ? e->msg : strerror(-r));
	k->ready = r == 0;
	return k->ready;
}

static void on_vm_end(struct source *s, uint32_t events unused_arg)
{
	struct keeper *k = container_of(s, struct keeper, vm);
	struct hv *hv = k->m->hv;
	scoped_str why = { 0 };

	loop_del(s);
	hv->ops->why(hv, hv_reap(hv), &why);
	end(k, -EIO, str_check(&why) == 0 && why.p ? why.p : "it ended");
}

/* Kills the VM if it runs. */
static void drop(struct charge *c)
{
	struct keeper *k = c->k;
	struct charge **p = &k->charges;

	while (*p && *p != c)
		p = &(*p)->next;
	if (*p)
		*p = c->next;
	loop_del(&c->vm);
	loop_del(&c->owner_src);
	hv_free(c->hv);
	scope_close(&c->owner);
	scope_close(&c->mounts);
	free(c);
	if (!k->charges && !k->m->hv)
		loop_stop(&k->m->loop);
}

static void on_charge_end(struct source *s, uint32_t events unused_arg)
{
	struct charge *c = container_of(s, struct charge, vm);
	struct msg_ended ended = { .status = (uint32_t)hv_reap(c->hv) };

	may_fail(ctl_send(c->owner, MSG_P_ENDED, &rec_ended, &ended, NULL, 0)); /* it may be gone */
	drop(c);
}

/* Its last word may be about its VM: more copies of the same would be no better. */
static void on_owner_end(struct source *s, uint32_t events unused_arg)
{
	struct charge *c = container_of(s, struct charge, owner_src);
	struct keeper *k = c->k;
	struct ctl_msg msg;
	bool bad = false;

	if (ctl_recv(s->fd, &msg) > 0) {
		bad = msg.type == MSG_P_END;
		ctl_fini(&msg);
	}
	if (bad && k->m->hv)
		retire(k);
	drop(c);
}

/* Any event: it was renamed, removed, or its file system is gone. */
static void on_template_gone(struct source *s, uint32_t events unused_arg)
{
	struct keeper *k = container_of(s, struct keeper, watch);

	end(k, -ESTALE, "its template is gone");
}

static struct charge *charge_new(struct keeper *k)
{
	struct charge *c = calloc(1, sizeof *c);

	if (c)
		*c = (struct charge){ .k = k, .owner = -1, .mounts = -1 };
	return c;
}

/* The VM is theirs, the end of either is ours to see. Drops c after an error. */
static int hand_over(struct charge *c, int mounts, int *conn, const char *refused)
{
	struct keeper *k = c->k;
	int r;

	c->next = k->charges;
	k->charges = c;
	r = pool_give(c->hv, *conn, mounts, k->m->share, refused);
	c->owner = take_fd(conn);
	if (r == 0)
		r = loop_add(&k->m->loop, &c->vm, c->hv->pidfd, EPOLLIN, on_charge_end);
	if (r == 0)
		r = loop_add(&k->m->loop, &c->owner_src, c->owner, EPOLLIN, on_owner_end);
	if (r < 0)
		drop(c);
	return r;
}

/* The VM itself: nothing waits any more. */
static void give(struct keeper *k, int *conn, const char *refused)
{
	struct monitor *m = k->m;
	struct charge *c = charge_new(k);

	if (!c) {
		end(k, -ENOMEM, "out of memory");
		return;
	}
	stop_waiting(k);
	loop_del(&k->vm);
	c->hv = take_ptr(&m->hv);
	/* Dropped after an error. */
	may_fail(hand_over(c, m->vm_mounts >= 0 ? m->vm_mounts : m->host_ns, conn, refused));
}

/* A mount namespace with an empty share where the VM has its own. */
static int new_mounts(const struct monitor *m, int *ret_mounts, int *ret_share, struct err *e)
{
	scoped_fd mounts = -1, share = -1;
	int r;

	r = share_isolate(e);
	if (r < 0)
		return r;
	r = share_open(m->plan.vm.share, e);
	if (r == 0) {
		mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
		share = open(m->plan.vm.share, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (mounts < 0 || share < 0)
			r = err_set(e, -errno, "share %s: %m", m->plan.vm.share);
	}
	if (setns(m->host_ns, CLONE_NEWNS) < 0)
		return err_set(e, -errno, "mount namespace: %m");
	*ret_mounts = take_fd(&mounts);
	*ret_share = take_fd(&share);
	return r;
}

/* -EOPNOTSUPP: it can't be copied. Any other error: it can't be used. */
static int give_copy(struct keeper *k, int *conn, struct err *e)
{
	struct monitor *m = k->m;
	struct charge *c = charge_new(k);
	scoped_fd share = -1;
	int r;

	if (!c)
		return err_set(e, -EOPNOTSUPP, "out of memory");
	r = new_mounts(m, &c->mounts, &share, e);
	if (r == 0)
		r = hv_new(&m->plan.vm, &c->hv, e);
	if (r == 0)
		r = m->hv->ops->fork(m->hv, share, c->hv, e);
	if (r == 0)
		r = loop_timer_set(&k->timer, WAIT_MAX_S * 1000ull);
	if (r < 0) {
		drop(c);
		return r;
	}
	may_fail(hand_over(c, c->mounts, conn, NULL)); /* the next gets another */
	return 0;
}

static void serve(struct keeper *k, int *conn)
{
	struct err e = { 0 }, why;
	int r = k->copies ? give_copy(k, conn, &e) : 0;

	if (!k->copies)
		give(k, conn, NULL);
	else if (r == -EOPNOTSUPP && k->m->hv->ops->resume(k->m->hv, &why) == 0)
		give(k, conn, e.msg);
	else if (r < 0)
		retire(k);
}

static void on_connect(struct source *s, uint32_t events unused_arg)
{
	struct keeper *k = container_of(s, struct keeper, listen);
	scoped_fd conn = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
	struct ctl_msg msg;

	/* Who connects only to see who is there closes without a word. */
	if (conn < 0 || io_wait_readable(conn, ASK_MS) < 0 || ctl_recv(conn, &msg) <= 0)
		return;
	ctl_fini(&msg);
	if (msg.type == MSG_P_TAKE) {
		serve(k, &conn);
	} else if (msg.type == MSG_P_END) {
		k->ender = take_fd(&conn);
		retire(k);
	}
}

/* Puts the tree into the share as ROOT; without one (-1) takes out what is there. What the VM still holds of
 * it goes when it lets go. */
static int change_root(const struct monitor *m, int tree)
{
	scoped_fd share = open(m->share, O_RDONLY | O_DIRECTORY | O_CLOEXEC), at = -1;

	if (share < 0 || (tree >= 0 && mkdirat(share, ROOT, 0700) < 0))
		return -errno;
	at = openat(share, ROOT, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (at < 0)
		return -errno;
	if (tree >= 0)
		return mnt_attach(tree, at);
	/* By the working directory: a VM's own mount namespace has no /proc. */
	if (fchdir(share) < 0 || umount2(ROOT, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 || chdir("/") < 0)
		return -errno;
	return unlinkat(share, ROOT, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* The same where the VM has its share. */
static int change_vm_root(const struct monitor *m, int tree)
{
	int r;

	if (m->vm_mounts < 0)
		return change_root(m, tree);
	if (setns(m->vm_mounts, CLONE_NEWNS) < 0)
		return -errno;
	r = change_root(m, tree);
	return setns(m->host_ns, CLONE_NEWNS) < 0 ? -errno : r;
}

/* Whoever fills a pool has the lowest priority. But those who take a copy wait for this process and the VM's.
 */
static void wake_up(const struct monitor *m)
{
	(void)setpriority(PRIO_PROCESS, 0, 0); /* it needs a right: without it they wait a little longer */
	may_fail(proc_be_like_caller(m->hv->pid));
}

/* The VM is as it was before HELLO, only warm: it can be had. */
static void become_ready(struct keeper *k)
{
	struct monitor *m = k->m;
	struct err e = { 0 };
	int r = 0;

	k->copies = m->plan.vm.forkable && m->hv->ops->fork;
	if (k->copies) {
		r = m->hv->ops->pause(m->hv, &e);
		wake_up(m);
	}
	if (r == 0)
		r = pool_listen(m->state_fd, k->name);
	if (r >= 0) {
		m->listen_fd = r;
		r = loop_add(&m->loop, &k->listen, m->listen_fd, EPOLLIN, on_connect);
	}
	if (r == 0)
		r = loop_timer_set(&k->timer, WAIT_MAX_S * 1000ull);
	if (!report(k, r, &e))
		return;
	loop_del(&m->sync_src);
	scope_close(&m->sync_fd);
	m->sync_fd = -1;
}

static void on_timer(struct timer *t)
{
	struct keeper *k = container_of(t, struct keeper, timer);

	if (k->settling && !k->ready)
		become_ready(k);
	else
		end(k, -ETIMEDOUT, "the rehearsal did not end");
}

/* The agent goes on until it waits. What it has not done when a VM is stopped to be copied, each copy does.
 */
static void on_rehearsed(struct keeper *k)
{
	struct monitor *m = k->m;
	int r;

	mux_fini(&m->mux);
	m->mux_up = false;
	k->settling = true;
	r = change_vm_root(m, -1);
	if (r == 0 && m->plan.vm.forkable)
		r = loop_timer_set(&k->timer, SETTLE_MS);
	else if (r == 0)
		become_ready(k);
	if (r < 0)
		end(k, r, strerror(-r));
}

static void step_failed(struct keeper *k, const char *what)
{
	end(k, -EPROTO, what);
}

static void on_ready(struct keeper *k, const struct msg_ready *msg)
{
	if (msg->nonce != k->m->nonce)
		return;
	k->request = 1;
	if (msg->version != PROTO_VERSION ||
	    mux_send(&k->m->mux, MSG_A_CREATE, k->request, &rec_ctr, &k->m->plan.ctr) < 0)
		step_failed(k, "the agent does not answer as it should");
}

/* What it wrote from its first message until its program runs is what each clone writes. Nothing waits then.
 */
static void learn(struct keeper *k)
{
	struct monitor *m = k->m;
	struct err e = { 0 };
	int r = m->hv->ops->learn(m->hv, m->plan.vm.template_dir, &e);

	if (report(k, r, &e))
		loop_stop(&m->loop);
}

static void on_result(struct keeper *k, uint32_t id, const struct msg_result *res)
{
	struct msg_ref ref = { .proc = PROC_INIT };
	struct err e = { 0 };

	if (id != k->request)
		return;
	if (res->code != 0) {
		(void)err_import(&e, (int)res->code, res->text ? res->text : "",
				 res->text ? strlen(res->text) : 0);
		step_failed(k, e.msg);
		return;
	}
	k->request++;
	if (id == 1 && mux_send(&k->m->mux, MSG_A_START, k->request, &rec_ref, &ref) < 0)
		step_failed(k, "the agent does not answer as it should");
	else if (id == 2 && k->m->plan.learn)
		learn(k);
}

/* Its output goes to nobody: the mux drops what belongs to no stream of ours. */
static void on_message(struct mux *mux, enum msg_type type, uint32_t id, const uint8_t *p, size_t n)
{
	struct keeper *k = mux->arg;
	scoped_arena a = { .max = 2 * MSG_MAX };
	const struct pack_rec *rec = msg_record(type);
	union {
		struct msg_ready ready;
		struct msg_result result;
		struct msg_exited exited;
	} u;

	if (k->ready || (type != MSG_A_READY && type != MSG_A_RESULT && type != MSG_A_EXITED) ||
	    pack_decode(rec, p, n, &a, &u) < 0)
		return;
	if (type == MSG_A_READY)
		on_ready(k, &u.ready);
	else if (type == MSG_A_RESULT)
		on_result(k, id, &u.result);
	else if (u.exited.code == 0)
		on_rehearsed(k);
	else
		step_failed(k, "its program failed");
}

static void on_stream_end(struct mux *mux unused_arg, uint32_t id unused_arg, enum mux_end how unused_arg)
{
}

/* The VM's own end says more, if it ended. */
static void on_broken(struct mux *mux, const struct err *why)
{
	struct keeper *k = mux->arg;

	if (io_wait_readable(k->m->hv->pidfd, END_MS) < 0)
		end(k, -EIO, why->msg);
}

static const struct mux_ops ops = {
	.message = on_message,
	.stream_end = on_stream_end,
	.broken = on_broken,
};

/* A root with this program in it, and its file. */
static int make_root(int *ret_tree)
{
	static const char *const dirs[] = { "bin", "proc", "sys", "dev", "tmp" };
	scoped_fd tree = -1, to = -1, data = -1;
	scoped_free char *program = NULL;
	size_t n;
	int r = mnt_new("tmpfs", "mode", "0755", &tree);

	for (size_t i = 0; i < ARRAY_LEN(dirs) && r == 0; i++)
		r = mkdirat(tree, dirs[i], 0755) < 0 ? -errno : 0;
	if (r == 0)
		r = io_read_file_at(AT_FDCWD, "/proc/self/exe", PROGRAM_MAX, &program, &n);
	if (r < 0)
		return r;
	to = openat(tree, &REHEARSAL_PROGRAM[1], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	data = openat(tree, &REHEARSAL_DATA[1], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	r = to < 0 ? -errno : io_write_full(to, program, n);
	if (r == 0 && (data < 0 || ftruncate(data, REHEARSAL_DATA_SIZE) < 0))
		r = -errno;
	if (r == 0)
		*ret_tree = take_fd(&tree);
	return r;
}

static int watch(struct keeper *k)
{
	struct monitor *m = k->m;
	int r;

	k->template_watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (k->template_watch < 0 ||
	    inotify_add_watch(k->template_watch, m->plan.vm.template_dir, IN_MOVE_SELF | IN_DELETE_SELF) < 0)
		return -errno;
	r = loop_add(&m->loop, &k->watch, k->template_watch, EPOLLIN, on_template_gone);
	if (r == 0)
		r = loop_add(&m->loop, &k->vm, m->hv->pidfd, EPOLLIN, on_vm_end);
	if (r == 0)
		r = loop_timer_add(&m->loop, &k->timer, on_timer);
	return r == 0 ? loop_timer_set(&k->timer, REHEARSE_MAX_MS) : r;
}

int keeper_hold(struct monitor *m, struct err *e)
{
	m->share_held = open(m->plan.vm.share, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (m->share_held < 0 || flock(m->share_held, LOCK_EX | LOCK_NB) < 0)
		return err_set(e, -errno, "%s: %m", m->plan.vm.share);
	return 0;
}

static int begin(struct keeper *k)
{
	struct monitor *m = k->m;
	scoped_fd root = -1;
	int r;

	r = watch(k);
	if (r == 0)
		r = make_root(&root);
	if (r == 0)
		r = change_vm_root(m, root);
	if (r == 0)
		r = mux_init(&m->mux, &m->loop, m->hv->agent_fd, MSG_A_READY, &ops, k);
	if (r < 0)
		return r;
	m->mux_up = true;
	return guest_hello(m);
}

static void finish(struct keeper *k)
{
	struct monitor *m = k->m;

	while (k->charges)
		drop(k->charges);
	retire(k);
	/* What stays is removed when the pool is filled again. */
	(void)umount2(m->plan.vm.share, MNT_DETACH);
	(void)rmdir(m->plan.vm.share);
	scope_close(&k->template_watch);
	scope_close(&k->ender);
}

int keeper_run(struct monitor *m, struct err *e)
{
	const char *slash = strrchr(m->plan.vm.share, '/');
	struct keeper k = {
		.m = m, .name = slash ? slash + 1 : m->plan.vm.share, .template_watch = -1, .ender = -1
	};
	int r;

	r = begin(&k);
	if (r == 0 && m->error.code == 0)
		r = loop_run(&m->loop);
	finish(&k);
	if (r == 0 && m->error.code != 0) {
		*e = m->error;
		return e->code;
	}
	return r < 0 ? err_set(e, r, "keeper: %m") : 0;
}
