/* fsd.h - starts cor-fsd, which serves a VM's shared directory, in its jail: beside cor-vmm always, beside
 * QEMU with qemu.share = virtiofs.
 *
 * Called by drivers, on the monitor's thread. It serves the root directory of its own mount namespace, which
 * is empty until the monitor fills it, and ends when the other end of its socket closes. */
#ifndef HYPER_FSD_H
#define HYPER_FSD_H

#include "hyper/hyper.h"
#include "hyper/jailed.h"

/* What it finds open beside stdio. */
enum hv_fsd_fd { HV_FSD_SOCKET = 3, HV_FSD_N, HV_FSD_FDS = HV_FSD_N };

enum hv_fsd_kind {
	HV_FSD_PACKETS, /* a packet socket to cor-vmm */
	HV_FSD_RINGS /* a stream socket to a VMM that speaks vhost-user, in a network namespace made for it */
};

/* As hv_jailed_begin(); fds[i] becomes its fd i. cfg names the programs. */
int must_check hv_fsd_begin(const struct vmcfg *cfg, enum hv_fsd_kind kind, const int fds[HV_FSD_N],
			    struct hv_jailing *ret, struct err *e);

#endif
