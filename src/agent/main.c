/* main.c - the agent's two ways to run: as the guest's /init, or in test mode (see agent.h). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>

#include "agent/agent.h"
#include "agent/boot.h"
#include "agent/layers.h"
#include "agent/limits.h"
#include "agent/park.h"
#include "base/log.h"
#include "base/num.h"
#include "base/str.h"

/* What does not depend on the container, so that a template holds it. */
static void prepare(struct agent_conf *conf, struct parked *parked)
{
	int r;

	park_make(parked, conf->cgroup, conf->share);
	conf->parked = parked;
	r = conf->cgroup >= 0 ? limits_prepare(&conf->devices) : 0;
	if (r < 0)
		log_warn("no device program in advance: %s", strerror(-r));
}

static int run_guest(uint64_t boot_ns)
{
	struct agent_conf conf = { .channel = -1, .share = BOOT_SHARE_DIR, .cgroup = -1, .boot_ns = boot_ns };
	struct parked parked;
	struct err e = { 0 };
	int r;

	r = boot_guest(&conf.cgroup, &conf.on_demand, &conf.times, &e);
	if (r == 0) {
		conf.is_virtiofs = boot_has_word(WORD_VIRTIOFS);
		prepare(&conf, &parked);
		layers_prepare(&conf.layers); /* no mount of it is in the parked child's namespace */
		conf.times.parked = boot_now_ns();
		r = boot_open_channel(&conf.channel, &e);
	}
	conf.times.channel = boot_now_ns();
	if (r == 0)
		r = agent_run(&conf);
	if (r < 0)
		log_error("%s", e.code ? e.msg : strerror(-r));
	boot_end();
	/* PID 1 must not return: the kernel would panic, which at least ends the machine. */
	return 1;
}

static int parse_test_args(int argc, char **argv, struct agent_conf *conf)
{
	uint64_t fd;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (str_eq(argv[i], "--test-fd") && num_parse_u64_max(argv[i + 1], 1 << 20, &fd) == 0)
			conf->channel = (int)fd;
		else if (str_eq(argv[i], "--share"))
			conf->share = argv[i + 1];
		else if (str_eq(argv[i], "--cgroup"))
			conf->cgroup = open(argv[i + 1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		else
			return -EINVAL;
		if (str_eq(argv[i], "--cgroup") && conf->cgroup < 0)
			return -errno;
	}
	return argc % 2 && conf->channel >= 0 && conf->share ? 0 : -EINVAL;
}

static int run_test(int argc, char **argv, uint64_t boot_ns)
{
	struct agent_conf conf = { .channel = -1, .cgroup = -1, .is_test = true, .boot_ns = boot_ns };
	struct parked parked;
	int r;

	r = parse_test_args(argc, argv, &conf);
	if (r == 0 && getpid() != 1)
		r = -EPERM; /* it reaps and signals as PID 1: never on the host itself */
	/* A fresh /proc for the fresh pid namespace; private, so that nobody else sees it. */
	if (r == 0 && (fcntl(conf.channel, F_SETFD, FD_CLOEXEC) < 0 ||
		       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		       mount("proc", "/proc", "proc", 0, NULL) < 0))
		r = -errno;
	if (r == 0) {
		prepare(&conf, &parked);
		r = agent_run(&conf);
		bpfdev_prog_fini(&conf.devices);
		park_fini(&parked);
	}
	if (r < 0)
		log_error("test mode: %s", strerror(-r));
	return r < 0 ? 1 : 0;
}

int agent_main(int argc, char **argv)
{
	uint64_t boot_ns = boot_now_ns();

	log_setup("cor-agent", LOG_LVL_WARN);
	if (argc > 1)
		return run_test(argc, argv, boot_ns);
	if (getpid() != 1) {
		log_error("this is PID 1 of a Cor guest; it is of no use elsewhere");
		return 1;
	}
	return run_guest(boot_ns);
}
