/* cmdline.c - the words of the guest kernel's command line. Called by runtime/plan_vm.c. */
#include "hyper/cmdline.h"

static const struct {
	const char *word;
	const char *why;
} words[] = {
	{ "console=ttyS0", "kernel messages reach the console that error reports quote" },
	{ "quiet", "few lines: each character is an exit" },
	{ "panic=-1", "a panic resets at once, which ends the VM" },
	{ "reboot=t", "by triple fault: needs no device" },
};

int hv_kernel_cmdline(const struct vmcfg *cfg, struct str *to)
{
	(void)cfg;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		str_addf(to, "%s%s", i ? " " : "", words[i].word);
	return str_check(to);
}
