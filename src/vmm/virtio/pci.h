/* pci.h - virtio over PCI (virtio 1.2, 4.1): modern only, MSI-X only, one 16 KiB BAR.
 *
 * A transport of virtio.h: one function for each device. Kicks are one ioeventfd for the whole device (every
 * queue has the same notify address); interrupts are messages sent by hv->ops->msi(). */
#ifndef VMM_VIRTIO_PCI_H
#define VMM_VIRTIO_PCI_H

#include "vmm/hv.h"
#include "vmm/pci.h"
#include "vmm/virtio/virtio.h"

#define VPCI_VECTORS (VDEV_QUEUES_MAX + 1) /* one for each queue and one for the configuration */

/* Places in the BAR */
#define VPCI_COMMON     0x0000u
#define VPCI_COMMON_LEN 0x38u
#define VPCI_ISR        0x0800u
#define VPCI_DEVICE     0x1000u
#define VPCI_DEVICE_LEN 0x1000u
#define VPCI_NOTIFY     0x2000u
#define VPCI_TABLE      0x3000u
#define VPCI_PBA        0x3800u

struct vpci_msix {
	uint64_t addr;
	uint32_t data;
	uint32_t control; /* bit 0: masked */
};

/* What the guest sees of the transport; a snapshot holds it. */
struct vpci_state {
	uint16_t command;
	uint16_t msix_control; /* enable and function mask, as in the capability */
	uint16_t queue_select, config_vector;
	uint16_t queue_vectors[VDEV_QUEUES_MAX];
	uint32_t device_feature_select, driver_feature_select;
	uint32_t pending; /* vectors that fired while masked */
	uint8_t isr, pad[3];
	struct vpci_msix table[VPCI_VECTORS];
};

struct vpci {
	struct pci_fn fn;
	struct vdev *d; /* owned */
	struct hv *hv;  /* borrowed */
	/* Orders vectors against each other: taken under the device's lock by interrupts, alone by register
	 * accesses, which never call the core with it. */
	pthread_mutex_t lock;
	struct vpci_state st;
	uint32_t n_vectors;
};

/* Makes the device a function of the bus: config space, ioeventfd. Before attach. Owns d from the call on. */
int must_check vpci_init(struct vpci *v, struct vdev *d, struct pci_bus *bus, struct hv *hv, struct err *e);
void vpci_fini(struct vpci *v); /* the device too */

/* Guest-visible state, while nothing runs. -EBADMSG: a state no driver can bring about. */
void vpci_save(struct vpci *v, struct vpci_state *ret);
int must_check vpci_restore(struct vpci *v, const struct vpci_state *s, struct err *e);

#endif
