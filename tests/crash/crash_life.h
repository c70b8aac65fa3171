/*
 * vfs_rsvd: several processes at one image, and what they did
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _CRASH_LIFE_H_
#define _CRASH_LIFE_H_

#include "modules/vhdx/vhdx.h"
#include "tests/crash/crash_disk.h"
#include "tests/crash/crash_oracle.h"

#define CRASH_MAX_WRITERS 4

/* The disk and who does what to it */
struct crash_plan {
	const char *name;
	struct vhdx_create_params params;
	uint64_t first_block;	/* those that are written ... */
	uint64_t num_blocks;	/* ... are so many */
	unsigned num_writers;
	bool child;		/* a differencing image, see crash_parent.c */
	unsigned merge_cuts;	/* of its end in its parent, crash_merge.c */
	unsigned steps;
	unsigned cuts;		/* at most, of one life */
	/* Weights of what a writer does, see crash_life.c */
	unsigned write, write_wait, zero, read, flush, flush_wait, reopen,
		 kill, resize;
	unsigned fresh;		/* percent of writes that go to a new block */
	unsigned trim;		/* and of zeros that are whole blocks; 0: 25 */
	uint64_t stride;	/* from a new block to the next; 0: 1 */
};

/* From one power cut to the next */
struct crash_life {
	const struct crash_plan *plan;
	struct crash_disk *disk;
	const struct crash_file *parent;	/* NULL: it has none */
	struct crash_oracle *oracle;
	struct crash_random random;
	const char *failure;	/* the first one */

	/* Flushes that were acknowledged: when they began and ended */
	struct crash_flushed {
		uint64_t began;
		uint64_t ended;
	} *flushed;
	size_t num_flushed;
	/* Sizes that the disk was to get: when that began and ended */
	struct crash_resized {
		uint64_t size;
		uint64_t began;
		uint64_t ended;
	} *resized;
	size_t num_resized;
	uint64_t first_size;	/* when the life began */
	bool all_left_in_order;	/* and nobody ever was killed */
	/*
	 * Whoever reads or writes takes the others for dead, to see that the
	 * harness notices.
	 */
	bool blind;
	bool in_io;

	struct db_context *db;
	struct crash_writer *writers[CRASH_MAX_WRITERS];
	uint64_t next_block;
	bool had_kill;
};

/*
 * Takes the disk and its history over; the parent has to outlive it. The seed
 * decides everything that happens in the life.
 */
struct crash_life *crash_life_new(TALLOC_CTX *mem_ctx,
				  const struct crash_plan *plan,
				  struct crash_disk *disk,
				  const struct crash_file *parent,
				  struct crash_oracle *oracle, uint64_t seed);
/* Open the image as the first process does, or as the only one ever. */
bool crash_life_begin(struct crash_life *life, bool alone);
/*
 * Read all that was ever written, and compare it with what has to be there
 * at *time* when what was acknowledged up to *since* is stable.
 */
bool crash_life_compare(struct crash_life *life, struct crash_oracle *oracle,
			uint64_t since, uint64_t time, uint64_t *versions);
/* So many steps by chance; false when something went wrong */
bool crash_life_go_on(struct crash_life *life, unsigned steps);
/* All processes leave in order. */
bool crash_life_end(struct crash_life *life);

/* The start of the last flush that was acknowledged at *time*, or 0 */
uint64_t crash_life_stable_since(const struct crash_life *life,
				 uint64_t time);

/* Can the disk have this size after a power cut at *time*? */
bool crash_life_size_is_possible(const struct crash_life *life,
				 uint64_t time, uint64_t size);

/* Compare an image that somebody has opened. */
const char *crash_image_compare(struct vhdx *image,
				struct crash_oracle *oracle,
				const struct crash_plan *plan, uint64_t since,
				uint64_t time, uint64_t *versions);

#endif /* _CRASH_LIFE_H_ */
