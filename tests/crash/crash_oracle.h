/*
 * vfs_rsvd: what a disk may answer
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _CRASH_ORACLE_H_
#define _CRASH_ORACLE_H_

#include "replace.h"
#include <talloc.h>

#define CRASH_SECTOR 512
/*
 * Sectors at either end of a block that are written with something other
 * than zeros: blocks are what goes wrong, not what is in the middle of them.
 */
#define CRASH_WINDOW 16

/*
 * The history of each sector of a disk: which versions were written to it,
 * when that began and when it was acknowledged. Version 0 is zeros.
 */
struct crash_oracle;

#define CRASH_NEVER UINT64_MAX

struct crash_oracle *crash_oracle_new(TALLOC_CTX *mem_ctx,
				      uint64_t num_blocks,
				      uint64_t block_size);
/* The same disk with no more history than what the sectors now have */
struct crash_oracle *crash_oracle_after_cut(TALLOC_CTX *mem_ctx,
					    const struct crash_oracle *oracle,
					    const uint64_t *versions);
size_t crash_oracle_num_sectors(const struct crash_oracle *oracle);

/* Does a write to some of the range go on? */
bool crash_oracle_is_busy(const struct crash_oracle *oracle, uint64_t offset,
			  uint64_t length);
/* A write begins, and ends: acknowledged, or its process was killed. */
void crash_oracle_begin(struct crash_oracle *oracle, uint64_t offset,
			uint64_t length, uint64_t version, uint64_t time);
void crash_oracle_end(struct crash_oracle *oracle, uint64_t offset,
		      uint64_t length, uint64_t time, bool acknowledged);

/* What a write of a version has */
void crash_oracle_fill(const struct crash_oracle *oracle, uint8_t *buf,
		       uint64_t offset, uint64_t length, uint64_t version);
/*
 * May a read at *time* return these bytes, when what was acknowledged up to
 * *since* must be there? If not, a reason that hangs on the oracle.
 *
 * versions may be NULL; otherwise it gets what was found, by sector, see
 * crash_oracle_after_cut().
 */
const char *crash_oracle_check(struct crash_oracle *oracle,
			       const uint8_t *buf, uint64_t offset,
			       uint64_t length, uint64_t since, uint64_t time,
			       uint64_t *versions);
/* Was anything ever written to the block? */
bool crash_oracle_is_touched(const struct crash_oracle *oracle,
			     uint64_t block);

#endif /* _CRASH_ORACLE_H_ */
