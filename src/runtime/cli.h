/* cli.h - the command line of `cor`: what each verb takes, and the parsed values.
 *
 * The options are those of runc and crun, as their callers (containerd, Podman, Docker, CRI-O,
 * buildah) send them, plus a few of ours. An option that means nothing for a VM is accepted and its
 * help says why it is ignored. cmd/cor.c calls cli_main(); the verbs (verbs.h) read struct cli. */
#ifndef RUNTIME_CLI_H
#define RUNTIME_CLI_H

#include "cfg/settings.h"

/* Decided when Cor was configured. All borrowed. */
struct cli_env {
	const char *confdir;    /* where cor.conf is */
	const char *osdir;      /* where kernel and initrd are */
	const char *libexecdir; /* where cor-monitor is */
	const char *commit;     /* of the sources */
};

enum cli_format { CLI_TABLE, CLI_JSON };
enum cli_cgroups { CLI_CGROUPFS, CLI_CGROUPS_SYSTEMD, CLI_CGROUPS_DISABLED };

struct cli_global {
	const char *root; /* state directory of all containers; never NULL after cli_parse() */
	const char *log;  /* NULL = stderr only */
	int log_format;   /* 0 = text, 1 = JSON */
	bool debug;
	bool systemd_cgroup; /* cgroupsPath is "slice:prefix:name" */
	int cgroup_manager;  /* enum cli_cgroups */
	const char *settings;
	struct opt_strs set;
	bool version, help;
};

struct cli_create {         /* create and run */
	const char *bundle; /* NULL = "." */
	const char *config; /* file in the bundle, or an absolute path; NULL = "config.json" */
	const char *console_socket, *pid_file, *pidfd_socket;
	uint64_t preserve_fds;
	bool detach; /* run only, and the next two */
	bool keep;
	bool timing;             /* print the phases on stderr */
	const char *timing_json; /* and write them there as JSON */
};

struct cli_image { /* run --image, and what goes only with it */
	const char *name;
	const char *id; /* --name; NULL = one is made up */
	const char *entrypoint, *user, *workdir;
	const char *cpus;            /* "1.5" */
	struct opt_strs env, volume; /* KEY=VALUE; SOURCE:DESTINATION[:ro] */
	uint64_t memory;             /* bytes, 0 = no limit */
	uint64_t disk;               /* bytes of the disk for what it writes; 0 = as the settings say */
	bool tty, read_only;
};

struct cli_exec {
	const char *process; /* file with a process object; NULL = from the options and args */
	const char *console_socket, *pid_file, *pidfd_socket;
	const char *cwd, *user, *cgroup;
	struct opt_strs env, cap, additional_gids;
	uint64_t preserve_fds;
	bool tty, detach, no_new_privs;
};

struct cli_update {
	const char *resources; /* file, or "-" for stdin; then the other fields are ignored */
	struct opt_int memory, memory_swap, memory_reservation;
	struct opt_int cpu_shares, cpu_quota, cpu_period, cpu_burst, cpu_idle, cpu_rt_period, cpu_rt_runtime;
	struct opt_int pids_limit, blkio_weight;
	const char *cpus, *mems;
};

struct cli {
	struct arena mem;
	const struct cli_env *env;   /* borrowed */
	const struct cli_verb *verb; /* NULL: none was given */
	bool unknown_verb;
	struct settings settings; /* loaded for verbs that need them */
	struct cli_global global;
	bool help; /* the verb's --help */
	const char
		*id; /* checked container ID; NULL for verbs without, and for run --image until it has one */
	struct opt_strs args; /* positionals behind the ID, borrowed from argv */
	struct cli_create create;
	struct cli_image image;
	struct cli_exec exec;
	struct cli_update update;
	bool delete_force;
	bool kill_all;
	int kill_signal; /* 0..64, SIGTERM unless given */
	int format;      /* enum cli_format, of list, ps and check */
	bool json;       /* the same as format = CLI_JSON, which it sets */
	bool list_quiet;
	bool events_stats;
	uint64_t events_interval_ns;
	const char *spec_bundle; /* "." unless given */
	bool spec_rootless;
};

struct cli_verb {
	const char *name;
	const char *summary; /* for the list of commands */
	const char *usage;   /* what follows the name */
	struct opt_table opts;
	bool id;                 /* the first positional is a container ID */
	size_t min, max;         /* positionals */
	size_t until;            /* options end after so many positionals */
	size_t ends;             /* offset in struct cli of a text; if it is set they end before the first
				    one, and there is no ID among them; 0 = there is no such */
	bool settings;           /* cor.conf is read first */
	int fail_code;           /* exit code when it fails */
	const char *unsupported; /* why it always fails; NULL = it works */
	int (*run)(struct cli *c, struct err *e);
};

#define CLI_EXIT_UNKNOWN_VERB 3 /* as runc */

extern const struct opt_table cli_global_opts;
extern const struct cli_verb cli_verbs[];
extern const size_t cli_n_verbs;

/* Parses everything behind the program's name. Returns 0; the caller ends it with cli_fini() also on
 * failure. With --version, --help, or no verb, c->verb or c->help/global say so. */
int must_check cli_parse(struct cli *c, const struct cli_env *env, int argc, char *const *argv,
			 struct err *e);
void cli_fini(struct cli *c); /* idempotent */
#define scoped_cli __attribute__((cleanup(cli_fini))) struct cli

/* The verb of that name, or NULL. */
const struct cli_verb *cli_find_verb(const char *name);
/* Usage text of one verb, or of the program (v = NULL). */
void cli_usage(struct str *to, const struct cli_verb *v);
/* update's flags as a LinuxResources object, so that they take the same way as --resources. */
void cli_update_json(struct str *to, const struct cli_update *u);
/* "cor version X", "commit: ...", "spec: ...". */
void cli_version(struct str *to, const struct cli_env *env);

/* The whole program: parses, sets up the log, runs the verb, reports its error. Returns the exit code. */
int cli_main(int argc, char *const *argv, const struct cli_env *env);

#endif
