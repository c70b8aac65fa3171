/*
 * vfs_rsvd: what a differencing image in a crash test is based on
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _CRASH_PARENT_H_
#define _CRASH_PARENT_H_

#include "tests/crash/crash_life.h"

/* What the sectors of a parent have, in the blocks where it has anything */
#define CRASH_PARENT_VERSION ((uint64_t)1 << 40)

/* Where a child has it, from its own directory */
#define CRASH_PARENT_NAME "parent.vhdx"

/* Has the parent of a plan anything in a block (of the child)? */
bool crash_parent_has(const struct crash_plan *plan, uint64_t block);

/* The first of a life in generations; the caller frees it. */
struct crash_file *crash_parent_make(const struct crash_plan *plan);

/* One process's view of a parent; closed with mem_ctx */
struct crash_parent;

/* Who has none, *file* NULL, has a view, too. The file has to outlive it. */
struct crash_parent *crash_parent_new(TALLOC_CTX *mem_ctx,
				      const struct crash_file *file);
/* For vhdx_open_chain(); NULL where there is none */
const struct vhdx_parents *crash_parents(const struct crash_parent *parent);
/* Something that waits for the disk of the parent goes on; false: nothing */
bool crash_parent_step(struct crash_parent *parent);

/* An image in an empty file, a child if there is a parent */
NTSTATUS crash_parent_create(const struct crash_plan *plan,
			     const struct crash_file *file,
			     struct vhdx_storage *storage);

#endif /* _CRASH_PARENT_H_ */
