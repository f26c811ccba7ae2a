/* cmd_print.c - verbs that only print: `cor spec` (a file) and `cor features`. */
#include <errno.h>
#include <fcntl.h>

#include "base/io.h"
#include "oci/features.h"
#include "oci/template.h"
#include "runtime/cli.h"
#include "runtime/out.h"
#include "runtime/plan.h"
#include "runtime/verbs.h"

int cmd_features(struct cli *cli, struct err *e)
{
	scoped_str text = { 0 };
	scoped_arena mem = { 0 };

	features_write(&text, plan_serves_files(&cli->settings, &mem));
	return out_print(&text, e);
}

int cmd_spec(struct cli *cli, struct err *e)
{
	const char *bundle = cli->spec_bundle ? cli->spec_bundle : ".";
	scoped_free char *path = str_fmt("%s/config.json", bundle);
	struct template t = template_spec;
	scoped_str text = { 0 };
	scoped_fd fd = -1;
	int r;

	t.rootless = cli->spec_rootless;
	t.uid = getuid();
	t.gid = getgid();
	template_write(&t, &text);
	if (!path || str_check(&text) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0 && errno == EEXIST)
		return err_set(e, -EEXIST, "file %s exists: remove it first", path);
	if (fd < 0)
		return err_set(e, -errno, "%s: %m", path);
	r = io_write_full(fd, text.p, text.len);
	return r < 0 ? err_set(e, r, "%s: %m", path) : 0;
}
