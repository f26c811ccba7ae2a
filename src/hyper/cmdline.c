/* cmdline.c - see cmdline.h. Trusts: the vmcfg. Every word concerns the guest's own kernel only; none
 * weakens what separates it from the host. */
#include "hyper/cmdline.h"

enum when { ALWAYS, WITH_KVM, WITH_TCG };

static const struct {
	const char *word;
	enum when when;
} words[] = {
	/* Life: a panic must end the machine, and leave its last words on the console. */
	{ "console=ttyS0", ALWAYS },
	{ "quiet", ALWAYS },
	{ "panic=-1", ALWAYS },
	{ "reboot=t", ALWAYS },
	/* Waits for hardware that is not there, or whose behaviour is known. */
	{ "8250.nr_uarts=1", ALWAYS },
	{ "no_timer_check", ALWAYS },
	{ "tsc=reliable", WITH_KVM },
	{ "cryptomgr.notests", ALWAYS },
	{ "rcupdate.rcu_expedited=1", ALWAYS },
};

int hv_kernel_cmdline(const struct vmcfg *cfg, struct str *to)
{
	const char *gap = "";

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (words[i].when != ALWAYS && cfg->kvm != (words[i].when == WITH_KVM))
			continue;
		str_add(to, gap);
		str_add(to, words[i].word);
		gap = " ";
	}
	return str_check(to);
}
