/* cor-monitor - one per virtual machine; started by cor, see monitor/monitor.h. */
#include "base/str.h"
#include "monitor/monitor.h"
#include "monitor/rehearsal.h"
#include "wire/plan.h"

int main(int argc, char **argv)
{
	/* A copy in the guest of a VM that waits: monitor/keeper.c. */
	if (argc > 1 && str_eq(argv[1], REHEARSAL_WORD))
		return rehearsal_main(argc);
	return monitor_main();
}
