/* fuse_chain.c - see fuse_chain.h. Distrusts: the driver, which may change the bytes at any time. */
#include "ring/fuse_chain.h"

bool fuse_has_reply(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET;
}

const char *fuse_chain_check(const struct vq_chain *c, size_t max, struct fuse_in_header *ret)
{
	if (vq_chain_read(c, 0, ret, sizeof *ret) != sizeof *ret)
		return "a request shorter than its header";
	if (ret->len != c->out_len || ret->len > max)
		return "a request of another length than it says";
	if (fuse_has_reply(ret->opcode) && c->in_len < sizeof(struct fuse_out_header))
		return "a request without room for the reply";
	return NULL;
}
