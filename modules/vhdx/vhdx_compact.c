/*
 * vfs_rsvd: giving back what an image does not need
 *
 * For an image that nobody else has open. Blocks of zeros leave the file, and
 * those at its end move into the holes; then it is cut off.
 *
 * The power can go at any time:
 *
 *  - A block of zeros reads as zeros with and without its place, so any mix of
 *    old and new entries of the BAT will do.
 *  - What it leaves is a hole only when the BAT without it is stable.
 *  - A copy is stable before the BAT names it. From then on it does not matter
 *    which of the two places an entry names, since nothing writes.
 *  - What a block has moved from is behind all blocks that still are to move,
 *    so nothing is put there any more. It is cut off when the image has been
 *    closed: the BAT is stable and the log is not named.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/samba_util.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"

#define SECTOR VHDX_SECTOR_SIZE
#define SECTOR_ENTRIES (SECTOR / VHDX_BAT_ENTRY_SIZE)
#define COPY_PIECE ((size_t)VHDX_MIB)
#define BAT_PIECE_SIZE VHDX_MIB

/* Blocks that share a flush */
#define MAX_MOVES 16

struct placed_block {
	uint64_t place;
	uint64_t block;
};

struct compact_state {
	struct vhdx *image;
	struct vhdx_compact_report *report;
	vhdx_progress_fn progress;
	void *private_data;
	bool stopped;
	uint8_t *buf;			/* COPY_PIECE */
	uint8_t *bat;			/* BAT_PIECE_SIZE of it */
	uint64_t bat_first;		/* the entries that are there */
	uint64_t bat_num;
	/* Those in the file, by place: from malloc(), see blocks_alloc() */
	struct placed_block *blocks;
	size_t num_blocks;
	uint64_t done;			/* bytes looked at or moved, BAT too */
	uint64_t total;
};

/* Entries of the BAT that change in one log entry */
struct compact_change {
	uint64_t block[MAX_MOVES];
	uint64_t entry[MAX_MOVES];
	size_t num;
};

static bool goes_on(struct compact_state *c)
{
	if (c->progress != NULL && !c->stopped) {
		c->stopped = !c->progress(MIN(c->done, c->total), c->total,
					  c->private_data);
	}
	return !c->stopped;
}

static NTSTATUS change_locked(struct vhdx *image, struct vhdx_state *state,
			      bool *changed, void *private_data)
{
	const struct compact_change *change = private_data;
	struct vhdx_log_update updates[MAX_MOVES];
	uint64_t sectors[MAX_MOVES];
	size_t num = 0;
	TALLOC_CTX *frame = NULL;
	NTSTATUS status;
	size_t i;
	size_t j;

	status = vhdx_session_prepare(image, state, changed);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	status = vhdx_log_make_room(image, state,
				    vhdx_log_max_updates(image), changed);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	frame = talloc_new(image);
	if (frame == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	for (i = 0; i < change->num; i++) {
		uint64_t index = vhdx_bat_index(image, change->block[i]);
		uint64_t sector = index / SECTOR_ENTRIES;

		for (j = 0; j < num && sectors[j] != sector; j++) {
			continue;
		}
		if (j == num) {
			sectors[j] = sector;
			updates[j].file_offset = image->bat.offset +
						 sector * SECTOR;
			updates[j].sector = talloc_size(frame, SECTOR);
			if (updates[j].sector == NULL) {
				status = NT_STATUS_NO_MEMORY;
				goto done;
			}
			status = vhdx_bat_sector_read(image, sector,
						      updates[j].sector);
			if (!NT_STATUS_IS_OK(status)) {
				goto done;
			}
			num += 1;
		}
		PUSH_LE_U64(updates[j].sector,
			    index % SECTOR_ENTRIES * VHDX_BAT_ENTRY_SIZE,
			    change->entry[i]);
	}
	status = vhdx_log_append(image, state, updates, num, false);
	if (!NT_STATUS_IS_OK(status)) {
		goto done;
	}
	*changed = true;
	for (j = 0; j < num; j++) {
		vhdx_bat_sector_changed(image, sectors[j], updates[j].sector);
	}
done:
	TALLOC_FREE(frame);
	return status;
}

static NTSTATUS change_run(struct compact_state *c,
			   struct compact_change *change)
{
	NTSTATUS status;

	if (change->num == 0) {
		return NT_STATUS_OK;
	}
	do {
		status = vhdx_state_locked(c->image, change_locked, change);
		if (NT_STATUS_EQUAL(status, NT_STATUS_RETRY)) {
			NTSTATUS flushed = vhdx_sync(c->image, VHDX_SYNC_ALL);

			if (!NT_STATUS_IS_OK(flushed)) {
				return flushed;
			}
		}
	} while (NT_STATUS_EQUAL(status, NT_STATUS_RETRY));
	change->num = 0;
	return status;
}

static NTSTATUS change_add(struct compact_state *c,
			   struct compact_change *change, uint64_t block,
			   uint64_t entry)
{
	change->block[change->num] = block;
	change->entry[change->num] = entry;
	change->num += 1;
	/* Each may be in a sector of its own. */
	if (change->num == MIN(MAX_MOVES, vhdx_log_max_updates(c->image))) {
		return change_run(c, change);
	}
	return NT_STATUS_OK;
}

/*
 * An entry of the BAT, which has up to 512 MiB and so is read in pieces. Who
 * asks goes on from the first to the last: what has changed since a piece was
 * read is behind him.
 */
static NTSTATUS entry_read(struct compact_state *c, uint64_t index,
			   uint64_t *entry)
{
	struct vhdx *image = c->image;

	if (index < c->bat_first || index - c->bat_first >= c->bat_num) {
		uint64_t num = MIN(BAT_PIECE_SIZE / VHDX_BAT_ENTRY_SIZE,
				   vhdx_bat_num_entries(image) - index);
		NTSTATUS status;

		goes_on(c);
		c->bat_num = 0;
		status = vhdx_file_read(image->storage, c->bat,
					num * VHDX_BAT_ENTRY_SIZE,
					image->bat.offset +
					index * VHDX_BAT_ENTRY_SIZE);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		c->bat_first = index;
		c->bat_num = num;
		c->done += num * VHDX_BAT_ENTRY_SIZE;
	}
	*entry = PULL_LE_U64(c->bat,
			     (index - c->bat_first) * VHDX_BAT_ENTRY_SIZE);
	return NT_STATUS_OK;
}

/* Blocks that are not in the file */

static NTSTATUS block_look_at(struct compact_state *c,
			      struct compact_change *change, uint64_t block,
			      uint64_t entry)
{
	uint64_t place = vhdx_bat_entry_place(c->image, block, entry, NULL);
	bool is_zero = false;
	NTSTATUS status;

	if (place == VHDX_PLACE_NONE) {
		/* A place that it may have had before is not kept for it. */
		if (VHDX_BAT_FILE_OFFSET(entry) == 0) {
			return NT_STATUS_OK;
		}
		return change_add(c, change, block,
				  VHDX_PAYLOAD_NOT_PRESENT);
	}
	if (!vhdx_place_is_mapped(place)) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	c->done += c->image->geometry.block_size;
	if (!c->image->geometry.leave_blocks_allocated) {
		status = vhdx_file_is_zero(
			c->image->storage, c->buf, place,
			vhdx_bat_block_length(c->image, block), &is_zero);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	if (is_zero) {
		c->report->num_dropped += 1;
		return change_add(c, change, block,
				  VHDX_PAYLOAD_NOT_PRESENT);
	}
	c->blocks[c->num_blocks] = (struct placed_block) {
		.place = place, .block = block,
	};
	c->num_blocks += 1;
	return NT_STATUS_OK;
}

static NTSTATUS zeros_drop(struct compact_state *c)
{
	struct vhdx *image = c->image;
	struct compact_change change = { .num = 0 };
	uint64_t block;
	NTSTATUS status = NT_STATUS_OK;

	for (block = 0; block < image->num_blocks; block++) {
		uint64_t entry;

		status = entry_read(c, vhdx_bat_index(image, block), &entry);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (c->stopped || (entry != 0 && !goes_on(c))) {
			break;
		}
		if (entry == 0) {
			continue;
		}
		status = block_look_at(c, &change, block, entry);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	status = change_run(c, &change);
	if (NT_STATUS_IS_OK(status)) {
		/* Now what they have left are holes. */
		status = vhdx_sync(image, VHDX_SYNC_ALL);
	}
	return status;
}

/* Blocks that move */

static int placed_block_compare(const void *p1, const void *p2)
{
	const struct placed_block *b1 = p1;
	const struct placed_block *b2 = p2;

	return NUMERIC_CMP(b1->place, b2->place);
}

static NTSTATUS block_copy(struct compact_state *c, uint64_t block,
			   uint64_t from, uint64_t to)
{
	struct vhdx_storage *storage = c->image->storage;
	uint64_t length = vhdx_bat_block_length(c->image, block);
	uint64_t done;

	for (done = 0; done < length; done += COPY_PIECE) {
		size_t piece = MIN(length - done, COPY_PIECE);
		NTSTATUS status;

		status = vhdx_file_read(storage, c->buf, piece, from + done);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (all_zero(c->buf, piece)) {
			status = vhdx_file_zero(storage, to + done, piece,
						true);
		} else {
			status = vhdx_file_write(storage, c->buf, piece,
						 to + done);
		}
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	return NT_STATUS_OK;
}

static struct vhdx_space *space_of(struct compact_state *c)
{
	struct vhdx *image = c->image;
	struct vhdx_space *space = NULL;
	size_t i;

	space = vhdx_space_new(c, 0, image->file_size);
	if (space == NULL) {
		return NULL;
	}
	vhdx_space_take(space, 0, VHDX_HEADER_SECTION_SIZE);
	vhdx_space_take(space, image->log.offset, image->log.length);
	for (i = 0; i < image->num_regions; i++) {
		vhdx_space_take(space, image->regions[i].offset,
				image->regions[i].length);
	}
	for (i = 0; i < c->num_blocks; i++) {
		vhdx_space_take(space, c->blocks[i].place,
				image->geometry.block_size);
	}
	return space;
}

/* From the last one on, into the first hole; until that is behind it */
static NTSTATUS blocks_move(struct compact_state *c)
{
	uint64_t block_size = c->image->geometry.block_size;
	struct vhdx_space *space = space_of(c);
	NTSTATUS status = NT_STATUS_OK;
	size_t left = c->num_blocks;
	bool more = true;

	if (space == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	qsort(c->blocks, c->num_blocks, sizeof(c->blocks[0]),
	      placed_block_compare);
	while (more && left > 0 && NT_STATUS_IS_OK(status)) {
		struct compact_change change = { .num = 0 };
		size_t max = MIN(MAX_MOVES, vhdx_log_max_updates(c->image));
		size_t i;

		/* Whoever waits for the image gets it after the copies. */
		while (change.num < max && left > 0) {
			struct placed_block *b = &c->blocks[left - 1];
			uint64_t hole;

			more = goes_on(c) &&
			       vhdx_space_find(space, block_size, &hole) &&
			       hole + block_size <= b->place;
			if (!more) {
				break;
			}
			status = block_copy(c, b->block, b->place, hole);
			if (!NT_STATUS_IS_OK(status)) {
				return status;
			}
			vhdx_space_take(space, hole, block_size);
			change.block[change.num] = b->block;
			change.entry[change.num] = VHDX_BAT_ENTRY(
				VHDX_PAYLOAD_FULLY_PRESENT, hole);
			change.num += 1;
			left -= 1;
			c->done += block_size;
		}
		if (change.num == 0) {
			break;
		}
		i = change.num;
		status = vhdx_sync(c->image, VHDX_SYNC_ALL);
		if (NT_STATUS_IS_OK(status)) {
			status = change_run(c, &change);
		}
		if (NT_STATUS_IS_OK(status)) {
			c->report->num_moved += i;
		}
	}
	return status;
}

static int compact_state_destructor(struct compact_state *c)
{
	SAFE_FREE(c->blocks);
	return 0;
}

/* Up to 64 Mi of them, and talloc gives no more than 256 MiB. */
static NTSTATUS blocks_alloc(struct compact_state *c, size_t num)
{
	c->blocks = calloc(MAX(num, 1), sizeof(c->blocks[0]));
	if (c->blocks == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	talloc_set_destructor(c, compact_state_destructor);
	return NT_STATUS_OK;
}

/* All of it, as it is; nothing is done to an image with an error. */
static NTSTATUS bat_check(struct compact_state *c)
{
	struct vhdx *image = c->image;
	uint64_t num = vhdx_bat_num_entries(image);
	struct vhdx_findings *errors = NULL;
	struct vhdx_space *space = NULL;
	size_t num_blocks = 0;
	uint64_t i;

	errors = talloc_zero(c, struct vhdx_findings);
	space = vhdx_space_new(c, 0, image->file_size);
	if (errors == NULL || space == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	c->total = num * VHDX_BAT_ENTRY_SIZE;
	for (i = 0; i < num && !c->stopped; i++) {
		uint64_t entry;
		NTSTATUS status;

		status = entry_read(c, i, &entry);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		vhdx_bat_entry_check(image, i, entry, space, errors);
		if (VHDX_BAT_STATE(entry) == VHDX_PAYLOAD_FULLY_PRESENT) {
			num_blocks += 1;
		}
	}
	TALLOC_FREE(space);
	if (errors->num_errors > 0) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	c->done = 0;
	c->bat_num = 0;
	c->total = num * VHDX_BAT_ENTRY_SIZE +
		   2 * num_blocks * image->geometry.block_size;
	return blocks_alloc(c, num_blocks);
}

static NTSTATUS image_compact(struct compact_state *c)
{
	NTSTATUS status;

	c->buf = talloc_size(c, COPY_PIECE);
	c->bat = talloc_size(c, BAT_PIECE_SIZE);
	if (c->buf == NULL || c->bat == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	status = vhdx_file_size(c->image->storage, &c->image->file_size);
	if (NT_STATUS_IS_OK(status)) {
		status = bat_check(c);
	}
	if (NT_STATUS_IS_OK(status) && !c->stopped) {
		status = zeros_drop(c);
	}
	if (NT_STATUS_IS_OK(status) && goes_on(c)) {
		/* If not, not all that is taken was looked at. */
		status = blocks_move(c);
	}
	return status;
}

/* To be cut off is part of the order in which it is left. */
static bool repair_goes_on(uint64_t done, uint64_t total, void *private_data)
{
	struct compact_state *c = private_data;

	if (c->progress != NULL && !c->stopped) {
		c->progress(done, total, c->private_data);
	}
	return true;
}

NTSTATUS vhdx_compact(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
		      vhdx_progress_fn progress,
		      void *private_data, struct vhdx_compact_report *report,
		      char **reason)
{
	struct vhdx_repair_report *repair = NULL;
	struct compact_state *c = NULL;
	NTSTATUS status;
	NTSTATUS closed;

	*report = (struct vhdx_compact_report) { .num_dropped = 0 };
	c = talloc_zero(mem_ctx, struct compact_state);
	if (c == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	c->report = report;
	c->progress = progress;
	c->private_data = private_data;

	status = vhdx_file_size(storage, &report->old_size);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_open(mem_ctx, storage, NULL, 0, &c->image,
				   reason);
	}
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(c);
		return status;
	}
	c->image->same_data = true;
	/* We use the holes ourselves. */
	c->image->own_state->num_released = 0;
	status = image_compact(c);
	closed = vhdx_close(&c->image);
	if (NT_STATUS_IS_OK(status)) {
		status = closed;
	}
	if (NT_STATUS_IS_OK(status)) {
		/* Cuts off what is at the end. */
		status = vhdx_repair(c, storage, NULL, repair_goes_on, c,
				     &repair);
	}
	report->stopped = c->stopped;
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_file_size(storage, &report->new_size);
	}
	TALLOC_FREE(c);
	return status;
}
