/* priv.h - what the files of this folder share; not for others.
 *
 * fs.c holds the table of requests; inode.c the files that the guest knows; handle.c what it has open;
 * attr.c, name.c, data.c, dir.c and xattr.c serve the requests; fresh.c looks whether what is opened is what
 * the guest believes; statx.c asks the kernel about a file. */
#ifndef FS_PRIV_H
#define FS_PRIV_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <sys/types.h>

#include "fs/fs.h"

#define FS_NAME_MAX 255
#define FS_HELD_MAX 4
#define FS_COPY_MAX (64u << 20) /* bytes copied in one request: others wait for it */

/* Which file it is: the same file seen through two mounts counts as two, as other things may be mounted
 * below. The host gives numbers of removed files to new ones: one of another type is not the file that it
 * was. */
struct file_key {
	uint64_t dev, ino, mnt;
	mode_t type; /* S_IFMT part */
};

struct file_stat {
	struct file_key key;
	struct fuse_attr attr;
};

/* A file that the guest knows: it was told the id and has not forgotten it. */
struct inode {
	uint64_t id;
	struct file_key key;
	uint64_t nlookup;            /* how often the guest was told; it forgets by count */
	unsigned refs;               /* of children and handles */
	uint64_t size;               /* what the guest believes: as it was told, or made it by writing */
	struct inode *parent;        /* NULL: the root, or a file without a name any more */
	char *name;                  /* in parent */
	int fd;                      /* O_PATH; -1 = not open now */
	bool pinned;                 /* can't be found by name: fd stays */
	bool held;                   /* used by the request in work: fd stays until its end */
	struct inode *chain;         /* of the hash table */
	struct inode *newer, *older; /* list of those whose fd may be closed, by last use */
};

struct handle {
	int fd; /* -1 = this entry is free */
	uint32_t gen;
	uint32_t next_free; /* index + 1 of the next free entry, 0 = none */
	bool is_dir;
	int64_t pos; /* of a directory: where fd stands */
	struct inode *inode;
};

struct slot {
	struct inode *inode;
	uint32_t gen;
	uint32_t next_free;
};

struct fs {
	struct fs_conf conf;
	uid_t uid; /* ours */
	gid_t gid;
	int pdeathsig;
	bool ready;        /* INIT was served */
	bool setxattr_ext; /* SETXATTR has the longer arguments */
	struct inode *root;
	uint64_t home;      /* device of files that have the root's in the guest, see attr.c; 0 = none yet */
	struct slot *slots; /* by index: the low half of an id */
	uint32_t n_slots, first_free;
	struct inode **table; /* by key */
	size_t table_size;    /* a power of two */
	unsigned n_inodes;
	struct inode *newest, *oldest;
	unsigned n_idle; /* on that list */
	struct inode *held[FS_HELD_MAX];
	unsigned n_held;
	struct handle *handles;
	uint32_t n_handles, used_handles, free_handle;
	unsigned n_fds;
	uint32_t sent_back[64]; /* by pid: who was told ESTALE by fresh_check() and has not come back */
};

/* One request in work. */
struct call {
	struct fs *fs;
	struct fuse_in_header h;
	const uint8_t *arg; /* behind the header */
	size_t n;
	uint8_t *out; /* behind the reply's header */
	size_t cap, len;
};

/* The fixed part of the arguments; the table has checked that it is there. */
#define CALL_ARG(c, type) ((const type *)(const void *)(c)->arg)
/* The name that begins at byte `off` of the arguments: one proper component of a path. *ret_next is the
 * offset behind it, may be NULL. */
int must_check call_name(const struct call *c, size_t off, const char **ret, size_t *ret_next);
/* Any text that ends inside the arguments. */
int must_check call_text(const struct call *c, size_t off, const char **ret, size_t *ret_next);
/* The file that the request is about, and its O_PATH descriptor (borrowed, until the end of the request). */
int must_check call_fd(const struct call *c, struct inode **ret);
/* n zeroed bytes of the reply, NULL if the guest left no room. */
void *call_reply(struct call *c, size_t n);

/* inode.c */
int must_check inodes_init(struct fs *fs);
void inodes_fini(struct fs *fs);
/* -ESTALE: the guest has no such file. */
int must_check inode_get(struct fs *fs, uint64_t id, struct inode **ret);
/* The file's O_PATH descriptor (borrowed), valid until the end of this request. */
int must_check inode_fd(struct fs *fs, struct inode *i);
/* Finds `name` in directory `dir` and counts that the guest is told of it. */
int must_check inode_lookup(struct fs *fs, struct inode *dir, const char *name, struct inode **ret,
			    struct file_stat *st);
/* The same for a file that has no name: fd stays the caller's. */
int must_check inode_nameless(struct fs *fs, int fd, struct inode **ret, struct file_stat *st);
/* The guest forgets n of the times that it was told. */
void inode_forget(struct fs *fs, struct inode *i, uint64_t n);
void inode_ref(struct inode *i);
void inode_unref(struct fs *fs, struct inode *i);
/* The file of that name in dir is about to lose it: if the guest knows it, its descriptor is kept. */
void inode_losing_name(struct fs *fs, struct inode *dir, const char *name);
/* A file was renamed to dir/name. */
void inode_moved_to(struct fs *fs, struct inode *dir, const char *name);
bool same_key(const struct file_key *a, const struct file_key *b);
/* Opens (O_PATH) what is at a relative path below dirfd, or -errno: never through a symbolic link, never out
 * of the directory; the last component may be a link. */
int must_check open_below(int dirfd, const char *path);
/* At the end of a request: what was held may be closed. */
void inodes_release(struct fs *fs);
/* Makes room for one more descriptor. -ENFILE. */
int must_check inodes_make_room(struct fs *fs);

/* handle.c */
void handles_init(struct fs *fs);
void handles_fini(struct fs *fs);
/* Takes fd over, also if it fails. */
int must_check handle_new(struct fs *fs, struct inode *i, int fd, uint64_t *ret);
/* -EBADF unless it is open, of this kind, and of this file. */
int must_check handle_get(struct fs *fs, uint64_t fh, const struct inode *i, bool is_dir,
			  struct handle **ret);
void handle_free(struct fs *fs, struct handle *h);

/* statx.c */
int must_check file_stat(int fd, struct file_stat *ret);
uint32_t rdev_encode(uint32_t major, uint32_t minor);
dev_t rdev_decode(uint32_t rdev);

/* fresh.c. i is about to be opened: 0, or -ESTALE if its name or size is not what the guest believes, so that
 * it asks again. Never twice in a row for one caller. */
int must_check fresh_check(const struct call *c, const struct inode *i);
/* The caller, who may have been sent back, found nothing there: he will not come. */
void fresh_forget(const struct call *c);

/* attr.c */
void put_entry(struct call *c, struct fuse_entry_out *o, struct inode *i, const struct inode *dir,
	       const struct file_stat *st);
/* Replies with a file that was just found or made: dir/name. */
int must_check reply_entry(struct call *c, struct inode *dir, const char *name);

/* name.c. What is made from here to make_end() is the caller's, with his umask. -EINVAL: the host has no such
 * user or group. */
int must_check make_begin(const struct call *c, uint32_t mask);
void make_end(const struct call *c);

/* The requests. 0 or -errno. */
int do_init(struct call *c);
int do_destroy(struct call *c);
int do_lookup(struct call *c);
int do_forget(struct call *c);
int do_batch_forget(struct call *c);
int do_getattr(struct call *c);
int do_setattr(struct call *c);
int do_readlink(struct call *c);
int do_symlink(struct call *c);
int do_mknod(struct call *c);
int do_mkdir(struct call *c);
int do_unlink(struct call *c);
int do_rmdir(struct call *c);
int do_rename(struct call *c);
int do_rename2(struct call *c);
int do_link(struct call *c);
int do_open(struct call *c);
int do_create(struct call *c);
int do_tmpfile(struct call *c);
int do_read(struct call *c);
int do_write(struct call *c);
int do_release(struct call *c);
int do_flush(struct call *c);
int do_fsync(struct call *c);
int do_syncfs(struct call *c);
int do_fallocate(struct call *c);
int do_lseek(struct call *c);
int do_copy(struct call *c);
int do_statfs(struct call *c);
int do_opendir(struct call *c);
int do_readdir(struct call *c);
int do_readdirplus(struct call *c);
int do_releasedir(struct call *c);
int do_fsyncdir(struct call *c);
int do_setxattr(struct call *c);
int do_getxattr(struct call *c);
int do_listxattr(struct call *c);
int do_removexattr(struct call *c);

#endif
