/* implied.c - see implied.h. Distrusts: what the layer has by that name. */
#include "sys/implied.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/io.h"
#include "sys/mnt.h"

int implied_read_list(int dir, char **ret, size_t *ret_len)
{
	scoped_fd fd = -1;
	struct stat st;
	int r = mnt_open_plain(dir, IMPLIED_FILE, O_RDONLY | O_NONBLOCK | O_NOCTTY, &fd);

	if (r == 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
		r = -EBADMSG;
	if (r == -ELOOP || r == -ENXIO)
		r = -EBADMSG; /* a symlink, a socket */
	return r == 0 ? io_read_all(fd, IMPLIED_MAX, ret, ret_len) : r;
}
