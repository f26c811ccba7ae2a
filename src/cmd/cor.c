/* cor - the OCI runtime's command line; see runtime/cli.h. */
#include "runtime/cli.h"

int main(int argc, char **argv)
{
	const struct cli_env env = {
		.confdir = COR_CONFDIR,
		.osdir = COR_OSDIR,
		.libexecdir = COR_LIBEXECDIR,
		.commit = COR_COMMIT,
	};

	return cli_main(argc, argv, &env);
}
