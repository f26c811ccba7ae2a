/* banned.h - functions nobody may call, as compile errors. meson includes it before every file of
 * the tree.
 *
 * The headers that declare these functions come first: the declarations must not meet the macros.
 * Unbounded copies and formats: use base/str.h or snprintf(). Number parsers without error reports:
 * base/num.h. Hidden static buffers: the *_r forms. */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A fortified C library has macros of some. */
#undef strcpy
#undef stpcpy
#undef strcat
#undef strncat
#undef strncpy
#undef sprintf
#undef vsprintf
#undef gets
#undef strtok
#undef atoi
#undef atol
#undef atoll
#undef atof
#undef localtime
#undef gmtime
#undef ctime
#undef asctime

#define strcpy(...)    strcpy_is_banned_use_base_str_h
#define stpcpy(...)    stpcpy_is_banned_use_base_str_h
#define strcat(...)    strcat_is_banned_use_base_str_h
#define strncat(...)   strncat_is_banned_use_base_str_h
#define strncpy(...)   strncpy_is_banned_use_snprintf_or_memcpy
#define sprintf(...)   sprintf_is_banned_use_snprintf
#define vsprintf(...)  vsprintf_is_banned_use_vsnprintf
#define gets(...)      gets_is_banned
#define strtok(...)    strtok_is_banned_use_strv_split
#define atoi(...)      atoi_is_banned_use_base_num_h
#define atol(...)      atol_is_banned_use_base_num_h
#define atoll(...)     atoll_is_banned_use_base_num_h
#define atof(...)      atof_is_banned_use_base_num_h
#define localtime(...) localtime_is_banned_use_localtime_r
#define gmtime(...)    gmtime_is_banned_use_gmtime_r
#define ctime(...)     ctime_is_banned_use_base_log_h
#define asctime(...)   asctime_is_banned_use_base_log_h

#endif
