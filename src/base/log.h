/* log.h - where a program's messages go. The only mutable state of file scope in the tree: a
 * program has one log. Libraries log at debug level only; mains, the monitor and the agent report.
 * Single thread. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#include "base/err.h"

enum log_level { LOG_LVL_ERROR, LOG_LVL_WARN, LOG_LVL_INFO, LOG_LVL_DEBUG, LOG_LVL_N };

/* tag: the program's name in text lines (borrowed). Messages at `level` or more urgent are written. */
void log_setup(const char *tag, enum log_level level);
enum log_level log_level_get(void);
/* Also (instead of stderr for non-errors) write to fd, as text lines or as JSON objects
 * {"level","msg","time"} with an RFC 3339 time; errors then go to stderr too when `both`.
 * -1 = stderr only. The fd is borrowed. */
void log_to_fd(int fd, bool json, bool both);

void log_msg(enum log_level level, const char *fmt, ...) printf_like(2, 3);
#define log_error(...) log_msg(LOG_LVL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_msg(LOG_LVL_WARN, __VA_ARGS__)
#define log_info(...)  log_msg(LOG_LVL_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_LVL_DEBUG, __VA_ARGS__)

#endif
