/* rehearse.c - see rehearse.h.
 *
 * A rehearsal is HELLO with its mark, CREATE, START and the container's end, by the same code as any
 * container's. Called by proc.c when nothing of the container is left. Never: keeps anything that the next
 * HELLO does not replace. The next one brings entropy and clock, as this one did. */
#include "agent/rehearse.h"

#include "agent/park.h"

void rehearse_end(struct agent *a)
{
	a->rehearsal = false;
	may_fail(loop_timer_set(&a->ahead,
				0)); /* the share stays mounted: the next program starts with little */
	a->greeted = false;
	a->marks = false;
	a->ctr_count = 0; /* the first container is called the first */
	mux_expect(&a->mux, MSG_A_HELLO);
	/* The one that the template had was used. */
	if (a->conf.parked)
		park_make(a->conf.parked, a->conf.cgroup, a->conf.share);
}
