/* oracle.h - json-c as the second opinion of test_json.c. */
#ifndef TESTS_OCI_ORACLE_H
#define TESTS_OCI_ORACLE_H

#include <stdbool.h>

bool oracle_accepts(const char *text);

#endif
