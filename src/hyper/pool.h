/* pool.h - VMs that wait: clones that were restored before anybody asked for them.
 *
 *     TEMPLATE/pool/NAME    socket of a waiting VM's keeper (monitor/keeper.c): there only while it waits
 *     TEMPLATE/pool/.NAME   the same, for the moment before it listens
 *     TEMPLATE/pool/lock    held (flock) by whoever fills the pool
 *
 * A waiting VM is of its template's shape and domain, has heard no HELLO that counts, and is given away once;
 * or it is copied (hv_ops.fork), and each copy is given away once.
 * The keeper stays their parent: it kills a VM when the new owner's connection ends, and tells the VM's end.
 * Taking is atomic: the keeper gives to the first who asks; others find the next socket or none.
 * Called by the monitor (take, listen, give) and the runtime (list, end). Trusts: TEMPLATE, which only root
 * can write. Never: waits for long on a keeper that hangs. */
#ifndef HYPER_POOL_H
#define HYPER_POOL_H

#include <stdint.h>

#include "hyper/hyper.h"

#define POOL_DIR   "pool"
#define POOL_NAME  17 /* of a socket: 16 hex digits and a NUL */
#define POOL_LOCK  "lock"
#define POOL_EARLY "."

/* What comes with a VM, in this order in MSG_P_GIVEN. */
enum pool_fd {
	POOL_FD_PROCESS, /* pidfd of the hypervisor */
	POOL_FD_AGENT,
	POOL_FD_CONSOLE,
	POOL_FD_LOG,
	POOL_FD_CONTROL, /* the driver's own: hv_ops.control */
	POOL_FD_MOUNTS,  /* its mount namespace, or the pidfd of its helper in there */
	POOL_FD_N
};

struct pool_vm {
	struct hv *hv; /* hv_free() */
	int mounts;    /* the mount namespace in which it has its share */
	char *share;   /* the empty shared directory there; free() */
};

/* Takes a waiting VM of cfg's template: 0, or -ENOENT if there is none. Keepers that are dead are
 * removed on the way. */
int must_check pool_take(const struct vmcfg *cfg, struct pool_vm *ret);

/* A name for a new socket and its share's directory. */
int must_check pool_name(char ret[POOL_NAME]);
/* The keeper: publishes a VM under `name` in the directory `dir`; returns the listening socket. */
int must_check pool_listen(int dir, const char *name);
/* Gives the VM to whoever is at the other end of `sock`: its channels are closed here. `refused`: why it is
 * no copy, to be logged there; NULL. */
int must_check pool_give(struct hv *hv, int sock, int mounts, const char *share, const char *refused);
/* Of a VM that was taken and does not come up: its keeper gives away no copy any more. */
void pool_tell_bad(const struct hv *hv);

struct pool_entry {
	char name[POOL_NAME];
	pid_t keeper;
	int64_t since; /* seconds since 1970 */
};

/* The waiting VMs of a template; *ret free(). No pool is an empty list. */
int must_check pool_list(const char *template_dir, struct pool_entry **ret, size_t *ret_n);
/* Ends all waiting VMs of a template and waits for their keepers' ends; those taken go on. */
int must_check pool_end(const char *template_dir);

#endif
