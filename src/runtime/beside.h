/* beside.h - work that a verb leaves behind: done in a process of its own, at the lowest priority. */
#ifndef RUNTIME_BESIDE_H
#define RUNTIME_BESIDE_H

/* Runs fn(arg) in a process with nothing of the caller's: not its session, its directory, its descriptors, or
 * its signals. name: for ps(1), at most 15 bytes. Returns at once; where no process can be made nothing
 * happens: what is done like this is tried again by the next container. */
void beside_run(const char *name, void (*fn)(void *arg), void *arg);

#endif
