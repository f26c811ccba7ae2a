/* scope.h - scope owns: cleanup attributes and ownership moves.
 *
 * A scoped variable starts as "nothing" (-1, NULL) and is released when it goes out of scope;
 * take_fd()/take_ptr() move its value out. Never: hides a jump or a return. */
#ifndef BASE_SCOPE_H
#define BASE_SCOPE_H

#include <dirent.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define must_check             __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))
#define unused_arg             __attribute__((unused))
/* A large buffer that is only read where it was written: nobody fills it with zeros, and so its pages are not
 * touched before they are needed. */
#define not_cleared __attribute__((uninitialized))

/* A must_check call whose failure changes nothing for the caller; a comment says why. */
#define may_fail(call)                                                                                       \
	do {                                                                                                 \
		__typeof__(call) may_fail_result = (call);                                                   \
		(void)may_fail_result;                                                                       \
	} while (0)

#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void scope_close(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* nothing to be done about it: the value is gone either way */
}

static inline void scope_free(void *p)
{
	free(*(void **)p);
}

static inline void scope_closedir(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static inline void scope_fclose(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

/* An fd closed at the end of the scope; initialise to -1 or an open fd. */
#define scoped_fd __attribute__((cleanup(scope_close))) int
/* A heap pointer freed at the end of the scope; initialise to NULL or an allocation. */
#define scoped_free __attribute__((cleanup(scope_free)))
#define scoped_dir  __attribute__((cleanup(scope_closedir))) DIR *
#define scoped_file __attribute__((cleanup(scope_fclose))) FILE *

/* Moves the fd out of a variable: the variable is -1 afterwards. */
static inline int take_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

/* Moves the pointer out of a variable: the variable is NULL afterwards. */
#define take_ptr(pp)                                                                                         \
	__extension__({                                                                                      \
		__typeof__(*(pp)) take_v = *(pp);                                                            \
		*(pp) = NULL;                                                                                \
		take_v;                                                                                      \
	})

#endif
