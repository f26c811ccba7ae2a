/* box.h - one agent and containers that run shell lines, for tests. */
#ifndef TESTS_AGENT_BOX_H
#define TESTS_AGENT_BOX_H

#include "host.h"

extern struct host host;

#define NEED_HOST                                                                                            \
	do {                                                                                                 \
		if (host.agent < 0)                                                                          \
			skip();                                                                              \
	} while (0)

/* Set-up and tear-down of a test: an agent of its own. */
int box_start(void **state);
int box_stop(void **state);

char *lit(const char *s); /* a literal where a record wants char * */
/* A container that runs a shell line. */
void shell_init(struct ctr_box *b, const char *script);
/* Runs it; what it printed must be `out`, its exit code `status`. */
void expect(struct ctr_box *b, const char *out, uint32_t status);
/* It must be refused at CREATE with this code and with this in the text. */
void expect_refused(struct ctr_box *b, int code, const char *part);

bool has_byte(int fd);
/* Waits until it has written `text`, or a line. */
void wait_text(struct run *r, const char *text);
void wait_output(struct run *r);
int signal_proc(uint32_t proc, uint32_t sig, bool all);

/* An exec session with a shell line; set changes its process. r->code tells how it went. */
void exec_line(struct run *r, uint32_t proc, const char *script, void (*set)(struct msg_process *p));
/* The same, to its end. */
void expect_exec(uint32_t proc, const char *script, void (*set)(struct msg_process *p), const char *out,
		 uint32_t status);
void as_user(struct msg_process *p); /* uid 1000 in /tmp, no capabilities */

#endif
