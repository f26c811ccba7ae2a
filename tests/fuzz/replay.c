/* replay.c - runs the files of corpus directories through a fuzz target, without a fuzzer.
 *
 * Linked to each target in ordinary builds, so that every input that once mattered is checked by the
 * tests of every compiler. Arguments: files, or directories (searched one level deep).
 * Never: passes when a corpus is missing or empty. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/io.h"
#include "fuzz.h"

#define INPUT_MAX (16u << 20)

static void run(const char *path, const char *text, size_t n)
{
	uint8_t *exact = malloc(n ? n : 1); /* no NUL behind it: a sanitizer sees one byte too many */

	if (!exact)
		abort();
	memcpy(exact, text, n);
	/* so that an abort names its input */
	(void)printf("# %s\n", path);
	(void)fflush(stdout);
	(void)LLVMFuzzerTestOneInput(exact, n);
	free(exact);
}

static int run_file(int dirfd, const char *path)
{
	scoped_free char *text = NULL;
	size_t n = 0;
	int r = io_read_file_at(dirfd, path, INPUT_MAX, &text, &n);

	if (r < 0) {
		(void)fprintf(stderr, "%s: %s\n", path, strerror(-r));
		return r;
	}
	run(path, text, n);
	return 0;
}

static int run_dir(const char *path)
{
	scoped_fd fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent **list = NULL;
	int n = scandir(path, &list, NULL, alphasort), done = 0, r = 0;

	for (int i = 0; i < n; i++) {
		if (list[i]->d_name[0] != '.' && r == 0) {
			r = run_file(fd, list[i]->d_name);
			done++;
		}
		free(list[i]);
	}
	free(list);
	if (r == 0 && done == 0) {
		(void)fprintf(stderr, "%s: no inputs: every target needs a seed corpus\n", path);
		return -ENOENT;
	}
	(void)printf("# %d inputs of %s\n", done, path);
	return r;
}

int main(int argc, char **argv)
{
	int r = 0;

	run("(empty)", "", 0);
	for (int i = 1; i < argc && r == 0; i++) {
		struct stat st;

		if (stat(argv[i], &st) == 0 && S_ISREG(st.st_mode))
			r = run_file(AT_FDCWD, argv[i]);
		else
			r = run_dir(argv[i]);
	}
	return r < 0 ? 1 : 0;
}
