/* cor-monitor - one per virtual machine; started by cor, see monitor/monitor.h. */
#include "monitor/monitor.h"

int main(void)
{
	return monitor_main();
}
