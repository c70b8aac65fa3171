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

/* One process's view of the parent; closed with mem_ctx */
struct crash_parent;

struct crash_parent *crash_parent_new(TALLOC_CTX *mem_ctx,
				      const struct crash_plan *plan);
/* For vhdx_open_chain(); NULL where the plan has no parent */
const struct vhdx_parents *crash_parents(const struct crash_parent *parent);
/* Something that waits for the disk of the parent goes on; false: nothing */
bool crash_parent_step(struct crash_parent *parent);

/* The file of it, as it is for every process */
const struct crash_file *crash_parent_file(const struct crash_plan *plan);

/* A child in an empty file */
NTSTATUS crash_parent_create_child(const struct crash_plan *plan,
				   struct vhdx_storage *storage);

#endif /* _CRASH_PARENT_H_ */
