/* qemu_rest.h - preloaded into QEMU: translated code of a VM that has come to rest is given back to the host.
 */
#ifndef HYPER_QEMU_REST_H
#define HYPER_QEMU_REST_H

/* In the environment of a QEMU that is to do it. */
#define QEMU_REST_WORD "COR_REST"

/* Called by QEMU's main thread each time before it waits for events; at rest some ten times a second. */
void qemu_rest_look(void);

#endif
