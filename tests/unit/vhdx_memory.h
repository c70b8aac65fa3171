/*
 * vfs_rsvd: an image in memory, for tests, with power cuts
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _VHDX_MEMORY_H_
#define _VHDX_MEMORY_H_

#include "modules/vhdx/vhdx.h"

struct vhdx_memory;

/* An empty file */
struct vhdx_memory *vhdx_memory_new(TALLOC_CTX *mem_ctx);
struct vhdx_storage *vhdx_memory_storage(struct vhdx_memory *memory);

/* Behind the back of whoever has it open */
void vhdx_memory_read(struct vhdx_memory *memory, void *buf, size_t length,
		      uint64_t offset);
void vhdx_memory_write(struct vhdx_memory *memory, const void *buf,
		       size_t length, uint64_t offset);
void vhdx_memory_resize(struct vhdx_memory *memory, uint64_t size);
uint64_t vhdx_memory_size(const struct vhdx_memory *memory);

/* Writes, truncations and holes so far; and flushes */
uint64_t vhdx_memory_num_changes(const struct vhdx_memory *memory);
uint64_t vhdx_memory_num_flushes(const struct vhdx_memory *memory);

/* From now on, changes fail with err after *after* more; 0: never */
void vhdx_memory_fail(struct vhdx_memory *memory, int err, uint64_t after);

/* Called after every change, and before every flush */
void vhdx_memory_watch(struct vhdx_memory *memory,
		       void (*watch)(void *private_data), void *private_data);

/*
 * The file after a power cut now: all that was flushed, and of each 512 byte
 * sector that was written since any version. keep is out of 256: 0 loses all
 * that was not flushed, 256 nothing.
 */
struct vhdx_memory *vhdx_memory_cut(TALLOC_CTX *mem_ctx,
				    struct vhdx_memory *memory,
				    unsigned keep, uint32_t *seed);

/* A number of its own, the same for a seed everywhere */
uint32_t vhdx_memory_random(uint32_t *seed);

#endif /* _VHDX_MEMORY_H_ */
