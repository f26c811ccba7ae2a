/* oracle.c - is a text valid JSON, in the opinion of strict json-c? Apart from test_json.c because the
 * names of the two headers clash. */
#include "oracle.h"

#include <json-c/json.h>
#include <string.h>

bool oracle_accepts(const char *text)
{
	struct json_tokener *t = json_tokener_new_ex(80) /* deeper than we allow */;
	bool valid;

	if (!t)
		return false;
	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	/* the NUL behind the text tells json-c that nothing more comes */
	json_object_put(json_tokener_parse_ex(t, text, (int)strlen(text) + 1));
	valid = json_tokener_get_error(t) == json_tokener_success;
	json_tokener_free(t);
	return valid;
}
