/*
 * vfs_rsvd: a child is merged into its parent, or flattened
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _CRASH_MERGE_H_
#define _CRASH_MERGE_H_

#include "tests/crash/crash_life.h"

/* Is it an image without an error? NULL, or what is wrong */
typedef const char *(*crash_file_check_fn)(TALLOC_CTX *mem_ctx,
					   const struct crash_file *file,
					   bool closed);

/*
 * Merge or flatten the child of a plan, by chance, with the process killed now
 * and then and started again; and cut the power at about so many moments of
 * that. The files must pass *check*, and the disk read the same after each.
 *
 * @param[in]  child   as a life has left it; not changed, nor is the parent
 * @param[in]  oracle  what it reads as, one version a sector
 * @param[out] result  the image that has it all now; the caller frees it
 * @return what is wrong, a child of mem_ctx, or NULL
 */
const char *crash_merge(TALLOC_CTX *mem_ctx, const struct crash_plan *plan,
			const struct crash_file *child,
			const struct crash_file *parent,
			struct crash_oracle *oracle, enum crash_flush flush,
			uint64_t seed, uint64_t cuts,
			crash_file_check_fn check, struct crash_file **result,
			uint64_t *num_cuts);

#endif /* _CRASH_MERGE_H_ */
