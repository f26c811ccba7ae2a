/* fetch.h - packages that a build starts from: downloaded once, kept in a cache. Nothing is installed. */
#ifndef IMAGE_FETCH_H
#define IMAGE_FETCH_H

#include <stdbool.h>

#include "base/err.h"
#include "image/ui.h"

/* Opens (makes) a cache directory and locks it until the fd is closed; waits for another builder. What that
 * one left half done ("tmp.*") is removed. */
int must_check fetch_cache_open(const char *cache, int *ret_fd, struct err *e);

/* The name, in `cache`, of the newest package called `name` (fresh memory). apt is asked again only when its
 * lists have changed. Without apt, lists or network: the newest file of the cache for which `stand_in` is
 * true, with a note to the user; NULL = no substitute is allowed. `cache_fd` is the locked directory. */
int must_check fetch_package(const char *name, bool (*stand_in)(const char *file), const char *cache,
			     int cache_fd, struct ui *ui, char **ret, struct err *e);

#endif
