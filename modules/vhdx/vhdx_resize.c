/*
 * vfs_rsvd: a disk of another size
 *
 * The size is one metadata item (MS-VHDX 2.6.2.2). Where a larger disk needs
 * more of a BAT than its region has room for, the BAT moves to the end of the
 * file, which the region tables (2.2.3) tell. All of that is in one log
 * entry, so that it is done or not done.
 *
 * Others work on the image meanwhile. What always holds:
 *
 * R1 A step is done under the lock of the record, and a new map generation
 *    with what has changed is stored before the lock is given back. Who
 *    translates an offset looks at the record first (vhdx_map()), and who
 *    changes the BAT does under the lock (vhdx_shape_follow()). I/O that was
 *    translated before is not disturbed: no block moves, and the space of one
 *    that is dropped is not used again in this session.
 * R2 The log entry is stable before any of it is put in place: it must not be
 *    done half. That is a flush under the lock, of which there is no other in
 *    a session; it is seldom enough.
 * R3 No entry of the BAT behind the last block has anything in it when a disk
 *    grows over it, and what is behind the end of the disk in its last block
 *    is zeros, so all that is new reads as zeros. These are changed before
 *    the size, when they mean nothing.
 * R4 The new place of the BAT is ours, in the record, before anything is
 *    written there: space that a dead process had begun to fill must not be
 *    taken for zeros (A1 in vhdx_alloc.c). The copy is stable before the log
 *    entry that leads to it. It is made under the lock that the entry is
 *    written under, so nothing in it is old.
 * R5 The old BAT is not used again in this session: entries of the log from
 *    before may still be replayed over it. The next one finds it as space that
 *    belongs to nothing (T6 in vhdx_release.c).
 *
 * Who dies after the log entry is written has done it: the next one under the
 * lock finishes it (vhdx_log_recover()).
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

/* The shape */

struct vhdx_shape vhdx_state_shape(const struct vhdx_state *state)
{
	return (struct vhdx_shape) {
		.map_generation = state->map_generation,
		.release_sequence = state->release_sequence,
		.releasing = state->releasing,
		.virtual_size = state->virtual_size,
		.bat_offset = state->bat_offset,
		.bat_length = state->bat_length,
	};
}

static uint64_t blocks_of(const struct vhdx *image, uint64_t virtual_size)
{
	return (virtual_size + image->geometry.block_size - 1) >>
	       image->block_shift;
}

/* All or nothing of it */
static NTSTATUS shape_set(struct vhdx *image, uint64_t virtual_size,
			  uint64_t bat_offset, uint64_t bat_length)
{
	struct vhdx_bat_cache *old_cache = image->bat_cache;
	uint64_t old_blocks = image->num_blocks;
	NTSTATUS status;

	image->num_blocks = blocks_of(image, virtual_size);
	status = vhdx_bat_init(image);
	if (!NT_STATUS_IS_OK(status)) {
		image->num_blocks = old_blocks;
		return status;
	}
	TALLOC_FREE(old_cache);
	image->geometry.virtual_size = virtual_size;
	vhdx_region_move_bat(image, bat_offset, bat_length);
	return NT_STATUS_OK;
}

NTSTATUS vhdx_shape_follow(struct vhdx *image, const struct vhdx_shape *shape)
{
	NTSTATUS status;

	if (shape->map_generation == image->map_generation) {
		return NT_STATUS_OK;
	}
	status = shape_set(image, shape->virtual_size, shape->bat_offset,
			   shape->bat_length);
	if (NT_STATUS_IS_OK(status)) {
		image->map_generation = shape->map_generation;
		image->release_known = shape->release_sequence;
	}
	return status;
}

NTSTATUS vhdx_shape_reload(struct vhdx *image)
{
	struct vhdx_findings *findings = NULL;
	struct vhdx *fresh = NULL;
	NTSTATUS status;

	fresh = talloc_zero(image, struct vhdx);
	if (fresh == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	findings = talloc_zero(fresh, struct vhdx_findings);
	if (findings == NULL) {
		TALLOC_FREE(fresh);
		return NT_STATUS_NO_MEMORY;
	}
	fresh->storage = image->storage;
	fresh->log = image->log;
	status = vhdx_file_size(image->storage, &fresh->file_size);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_region_load(fresh, findings);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_metadata_load(fresh, findings);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = shape_set(image, fresh->geometry.virtual_size,
				   fresh->bat.offset, fresh->bat.length);
	}
	TALLOC_FREE(fresh);
	return status;
}

void vhdx_shape_publish(struct vhdx *image, struct vhdx_state *state)
{
	image->map_generation = vhdx_unique_number();
	state->map_generation = image->map_generation;
	state->virtual_size = image->geometry.virtual_size;
	state->bat_offset = image->bat.offset;
	state->bat_length = image->bat.length;
}

/* What is data */

/* *buf*: to read what is there for zeros, or NULL when a place is enough */
static NTSTATUS block_is_data(struct vhdx *image, uint64_t block,
			      uint64_t entry, uint8_t *buf, bool *is_data)
{
	uint64_t place = vhdx_bat_entry_place(image, block, entry, NULL);
	bool is_zero = false;
	NTSTATUS status;

	*is_data = place != VHDX_PLACE_NONE;
	if (place == VHDX_PLACE_BAD) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	if (!*is_data || buf == NULL) {
		return NT_STATUS_OK;
	}
	status = vhdx_file_is_zero(image->storage, buf, place,
				   vhdx_bat_block_length(image, block),
				   &is_zero);
	*is_data = !is_zero;
	return status;
}

/* From the end on, as the file has it now */
static NTSTATUS data_end_find(struct vhdx *image, uint8_t *data_buf,
			      vhdx_progress_fn progress, void *private_data,
			      uint64_t *end)
{
	uint64_t known = UINT64_MAX;
	uint8_t buf[SECTOR];
	uint64_t block;

	for (block = image->num_blocks; block > 0; block--) {
		uint64_t index = vhdx_bat_index(image, block - 1);
		uint64_t sector = index / SECTOR_ENTRIES;
		size_t in_sector = index % SECTOR_ENTRIES;
		bool is_data = false;
		NTSTATUS status;

		if (progress != NULL &&
		    !progress((image->num_blocks - block) <<
			      image->block_shift,
			      image->num_blocks << image->block_shift,
			      private_data)) {
			return NT_STATUS_CANCELLED;
		}
		if (sector != known) {
			status = vhdx_bat_sector_read(image, sector, buf);
			if (!NT_STATUS_IS_OK(status)) {
				return status;
			}
			known = sector;
		}
		status = block_is_data(
			image, block - 1,
			PULL_LE_U64(buf, in_sector * VHDX_BAT_ENTRY_SIZE),
			data_buf, &is_data);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (is_data) {
			*end = MIN(block << image->block_shift,
				   image->geometry.virtual_size);
			return NT_STATUS_OK;
		}
	}
	/* There is no disk without a sector. */
	*end = MIN(image->geometry.block_size, image->geometry.virtual_size);
	return NT_STATUS_OK;
}

static NTSTATUS data_end(struct vhdx *image, uint32_t flags,
			 vhdx_progress_fn progress, void *private_data,
			 uint64_t *end)
{
	uint8_t *buf = NULL;
	NTSTATUS status;

	if ((flags & VHDX_RESIZE_ALONE) != 0) {
		buf = talloc_size(image, COPY_PIECE);
		if (buf == NULL) {
			return NT_STATUS_NO_MEMORY;
		}
	}
	status = data_end_find(image, buf, progress, private_data, end);
	TALLOC_FREE(buf);
	return status;
}

NTSTATUS vhdx_safe_size(struct vhdx *image, uint32_t flags,
			vhdx_progress_fn progress, void *private_data,
			uint64_t *size)
{
	NTSTATUS status;

	if (image->geometry.has_parent) {
		return NT_STATUS_NOT_SUPPORTED;
	}
	status = vhdx_state_refresh(image);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return data_end(image, flags, progress, private_data, size);
}

/* The step */

struct resize_step {
	uint64_t new_size;
	uint32_t flags;
	uint64_t old_size;	/* when it was done */
	uint64_t bat_offset;	/* a place of our own for it, or 0 */
	uint64_t bat_length;
	uint64_t clear_end;	/* of the BAT, in sectors */
	bool clear_done;
	uint64_t cleared;	/* up to here, as long as nobody ... */
	uint64_t cleared_in;	/* ... has given it another shape */
	vhdx_progress_fn progress;
	void *private_data;
};

/* Where it is too late to be left */
static void tell(const struct resize_step *step, uint64_t done, uint64_t total)
{
	if (step->progress != NULL) {
		step->progress(done, total, step->private_data);
	}
}

/* Sectors of the file that a log entry changes */
struct resize_updates {
	struct vhdx_log_update updates[16];
	size_t num;
	size_t max;
};

static NTSTATUS update_add(struct resize_updates *u, uint64_t offset,
			   const uint8_t *sector)
{
	if (u->num == u->max) {
		return NT_STATUS_INTERNAL_ERROR;
	}
	u->updates[u->num].file_offset = offset;
	u->updates[u->num].sector = talloc_memdup(u, sector, SECTOR);
	if (u->updates[u->num].sector == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	u->num += 1;
	return NT_STATUS_OK;
}

static struct resize_updates *updates_new(struct vhdx *image)
{
	struct resize_updates *u = talloc_zero(image, struct resize_updates);

	if (u != NULL) {
		u->max = MIN(vhdx_log_max_updates(image),
			     ARRAY_SIZE(u->updates));
	}
	return u;
}

/* The item may lie across two sectors. */
static NTSTATUS size_update(struct vhdx *image, uint64_t size,
			    struct resize_updates *u)
{
	uint64_t first = image->size_offset & ~(uint64_t)(SECTOR - 1);
	size_t in_sector = image->size_offset - first;
	size_t num = (in_sector + 8 > SECTOR) ? 2 : 1;
	uint8_t buf[2 * SECTOR];
	NTSTATUS status;
	size_t i;

	status = vhdx_file_read(image->storage, buf, num * SECTOR, first);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	PUSH_LE_U64(buf, in_sector, size);
	for (i = 0; i < num && NT_STATUS_IS_OK(status); i++) {
		status = update_add(u, first + i * SECTOR, buf + i * SECTOR);
	}
	return status;
}

/* What of the two region tables changes */
static NTSTATUS region_updates(struct vhdx *image,
			       const struct resize_step *step,
			       struct resize_updates *u)
{
	uint8_t *old = talloc_size(u, VHDX_REGION_TABLE_SIZE);
	uint8_t *new = talloc_size(u, VHDX_REGION_TABLE_SIZE);
	unsigned copy;
	size_t i;

	if (old == NULL || new == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	for (copy = 0; copy < 2; copy++) {
		uint64_t offset = VHDX_REGION_TABLE_OFFSET(copy);
		NTSTATUS status;

		status = vhdx_file_read(image->storage, old,
					VHDX_REGION_TABLE_SIZE, offset);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		status = vhdx_region_table_move_bat(
			image, copy, step->bat_offset, step->bat_length, new);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		for (i = 0; i < VHDX_REGION_TABLE_SIZE; i += SECTOR) {
			if (memcmp(old + i, new + i, SECTOR) == 0) {
				continue;
			}
			status = update_add(u, offset + i, new + i);
			if (!NT_STATUS_IS_OK(status)) {
				return status;
			}
		}
	}
	return NT_STATUS_OK;
}

/* Where it is all zeros already nothing is written. */
static NTSTATUS bat_copy(struct vhdx *image, const struct resize_step *step)
{
	NTSTATUS status = NT_STATUS_OK;
	uint8_t *buf = NULL;
	uint64_t done;

	buf = talloc_size(image, COPY_PIECE);
	if (buf == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	for (done = 0; done < image->bat.length; done += COPY_PIECE) {
		tell(step, done, image->bat.length);
		status = vhdx_file_read(image->storage, buf, COPY_PIECE,
					image->bat.offset + done);
		if (!NT_STATUS_IS_OK(status)) {
			break;
		}
		if (all_zero(buf, COPY_PIECE)) {
			continue;
		}
		status = vhdx_file_write(image->storage, buf, COPY_PIECE,
					 step->bat_offset + done);
		if (!NT_STATUS_IS_OK(status)) {
			break;
		}
	}
	TALLOC_FREE(buf);
	return status;
}

/* How many entries a disk has, and the sectors they are in */
static uint64_t bat_sectors(struct vhdx *image, uint64_t virtual_size)
{
	uint64_t num_blocks = image->num_blocks;
	uint64_t num;

	image->num_blocks = blocks_of(image, virtual_size);
	num = vhdx_bat_num_entries(image);
	image->num_blocks = num_blocks;
	return (num + SECTOR_ENTRIES - 1) / SECTOR_ENTRIES;
}

/*
 * R3: one log entry's worth of what is behind the last block, up to the
 * sector *end of the BAT. *done when there is nothing.
 */
static NTSTATUS tail_clear(struct vhdx *image, struct vhdx_state *state,
			   struct resize_step *step, uint64_t end, bool *done,
			   bool *changed)
{
	struct resize_updates *u = updates_new(image);
	uint64_t num = vhdx_bat_num_entries(image);
	uint64_t sector = num / SECTOR_ENTRIES;
	size_t skip = num % SECTOR_ENTRIES * VHDX_BAT_ENTRY_SIZE;
	NTSTATUS status = NT_STATUS_OK;
	size_t i;

	if (u == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	end = MIN(end, image->bat.length / SECTOR);
	if (step->cleared_in == image->map_generation &&
	    step->cleared > sector) {
		sector = step->cleared;
		skip = 0;
	}
	tell(step, MIN(sector, end) * SECTOR, end * SECTOR);
	for (; sector < end && u->num < u->max; sector++, skip = 0) {
		uint8_t buf[SECTOR];

		status = vhdx_bat_sector_read(image, sector, buf);
		if (!NT_STATUS_IS_OK(status)) {
			goto done;
		}
		if (all_zero(buf + skip, SECTOR - skip)) {
			continue;
		}
		memset(buf + skip, 0, SECTOR - skip);
		status = update_add(u, image->bat.offset + sector * SECTOR,
				    buf);
		if (!NT_STATUS_IS_OK(status)) {
			goto done;
		}
	}
	*done = u->num == 0;
	if (*done) {
		goto done;
	}
	status = vhdx_log_append(image, state, u->updates, u->num, false);
	if (!NT_STATUS_IS_OK(status)) {
		goto done;
	}
	*changed = true;
	for (i = 0; i < u->num; i++) {
		vhdx_bat_sector_changed(
			image, (u->updates[i].file_offset -
				image->bat.offset) / SECTOR,
			u->updates[i].sector);
	}
	step->cleared = sector;
	step->cleared_in = image->map_generation;
done:
	TALLOC_FREE(u);
	return status;
}

/*
 * R3: the end of the last block. Where the file ends with the disk, it first
 * gets as long as a block is, which is nobody else's space: see
 * vhdx_session_start().
 */
static NTSTATUS last_block_prepare(struct vhdx *image,
				   struct vhdx_state *state, bool *changed)
{
	uint64_t block = image->num_blocks - 1;
	uint64_t length = vhdx_bat_block_length(image, block);
	uint64_t index = vhdx_bat_index(image, block);
	uint64_t block_size = image->geometry.block_size;
	uint8_t buf[SECTOR];
	uint8_t *data = NULL;
	uint64_t offset;
	uint64_t piece;
	uint64_t place;
	bool zeroed = false;
	NTSTATUS status;

	if (length == block_size) {
		return NT_STATUS_OK;
	}
	status = vhdx_bat_sector_read(image, index / SECTOR_ENTRIES, buf);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	place = vhdx_bat_entry_place(
		image, block,
		PULL_LE_U64(buf, index % SECTOR_ENTRIES *
			    VHDX_BAT_ENTRY_SIZE), NULL);
	if (place == VHDX_PLACE_BAD) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	if (place == VHDX_PLACE_NONE) {
		return NT_STATUS_OK;
	}
	if (place + block_size > state->stable_end) {
		if (place + block_size > state->next_free) {
			return NT_STATUS_FILE_CORRUPT_ERROR;
		}
		status = vhdx_space_grow(image, state, 0, changed);
		return NT_STATUS_IS_OK(status) ? NT_STATUS_RETRY : status;
	}
	data = talloc_size(image, COPY_PIECE);
	if (data == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	for (offset = length; offset < block_size && NT_STATUS_IS_OK(status);
	     offset += piece) {
		bool is_zero = false;

		piece = MIN(block_size - offset, COPY_PIECE);
		status = vhdx_file_is_zero(image->storage, data,
					   place + offset, piece, &is_zero);
		if (NT_STATUS_IS_OK(status) && !is_zero) {
			status = vhdx_file_zero(image->storage,
						place + offset, piece,
						false);
			zeroed = true;
		}
	}
	TALLOC_FREE(data);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	/* The log entry must not be stable before these are. */
	return zeroed ? NT_STATUS_RETRY : NT_STATUS_OK;
}

/* R2: all that says so, in one entry */
static NTSTATUS size_change(struct vhdx *image, struct vhdx_state *state,
			    const struct resize_step *step, bool *changed)
{
	struct resize_updates *u = updates_new(image);
	uint64_t bat_offset = image->bat.offset;
	uint64_t bat_length = image->bat.length;
	NTSTATUS status = NT_STATUS_OK;

	if (u == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	if (step->bat_offset != 0) {
		bat_offset = step->bat_offset;
		bat_length = step->bat_length;
		status = bat_copy(image, step);
		if (NT_STATUS_IS_OK(status)) {
			status = vhdx_file_flush(image->storage);
		}
		if (NT_STATUS_IS_OK(status)) {
			status = region_updates(image, step, u);
		}
	}
	if (NT_STATUS_IS_OK(status)) {
		status = size_update(image, step->new_size, u);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_log_append(image, state, u->updates, u->num,
					 true);
	}
	TALLOC_FREE(u);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	*changed = true;
	status = shape_set(image, step->new_size, bat_offset, bat_length);
	if (!NT_STATUS_IS_OK(status)) {
		/* It is done; not even we know it. The record has to say. */
		state->map_generation = vhdx_unique_number();
		state->virtual_size = step->new_size;
		state->bat_offset = bat_offset;
		state->bat_length = bat_length;
		return status;
	}
	vhdx_shape_publish(image, state);
	return NT_STATUS_OK;
}

static NTSTATUS shrink_check(struct vhdx *image,
			     const struct resize_step *step)
{
	uint64_t safe;
	NTSTATUS status;

	if ((step->flags & VHDX_RESIZE_SHRINK) == 0) {
		return NT_STATUS_INVALID_PARAMETER;
	}
	if ((step->flags & VHDX_RESIZE_DISCARD) != 0) {
		return NT_STATUS_OK;
	}
	status = data_end(image, step->flags, step->progress,
			  step->private_data, &safe);
	if (NT_STATUS_IS_OK(status) && step->new_size < safe) {
		return NT_STATUS_VHD_RESIZE_WOULD_TRUNCATE_DATA;
	}
	return status;
}

/* R4: a place for a BAT that is too small */
static NTSTATUS bat_reserve(struct vhdx *image, struct vhdx_state *state,
			    struct resize_step *step, bool *changed)
{
	uint64_t need = bat_sectors(image, step->new_size) * SECTOR;
	NTSTATUS status;

	need = (need + VHDX_ALIGNMENT - 1) & ~(VHDX_ALIGNMENT - 1);
	if (need <= image->bat.length) {
		/* Somebody else may have moved it since we asked. */
		step->bat_offset = 0;
		return NT_STATUS_OK;
	}
	if (step->bat_offset != 0) {
		return NT_STATUS_OK;
	}
	status = vhdx_space_reserve(image, state, need, &step->bat_offset,
				    changed);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	step->bat_length = need;
	return NT_STATUS_RETRY;
}

static NTSTATUS resize_locked(struct vhdx *image, struct vhdx_state *state,
			      bool *changed, void *private_data)
{
	struct resize_step *step = private_data;
	bool clear_is_done = false;
	NTSTATUS status;

	status = vhdx_session_prepare(image, state, changed);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	step->old_size = image->geometry.virtual_size;
	if (step->new_size == step->old_size) {
		return NT_STATUS_OK;
	}
	if (step->new_size < step->old_size) {
		status = shrink_check(image, step);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	status = vhdx_log_make_room(image, state,
				    vhdx_log_max_updates(image), changed);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (step->new_size > step->old_size) {
		status = bat_reserve(image, state, step, changed);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		status = tail_clear(image, state, step,
				    bat_sectors(image, step->new_size),
				    &clear_is_done, changed);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (!clear_is_done) {
			return NT_STATUS_RETRY;
		}
		status = last_block_prepare(image, state, changed);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	return size_change(image, state, step, changed);
}

/* Behind a disk that has shrunk; others may not know to clear it. */
static NTSTATUS clear_locked(struct vhdx *image, struct vhdx_state *state,
			     bool *changed, void *private_data)
{
	struct resize_step *step = private_data;
	NTSTATUS status;

	status = vhdx_session_prepare(image, state, changed);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_log_make_room(image, state,
					    vhdx_log_max_updates(image),
					    changed);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = tail_clear(image, state, step, step->clear_end,
				    &step->clear_done, changed);
	}
	return status;
}

static NTSTATUS steps_run(struct vhdx *image, vhdx_state_fn fn,
			  struct resize_step *step)
{
	NTSTATUS status;

	do {
		status = vhdx_state_locked(image, fn, step);
		if (NT_STATUS_EQUAL(status, NT_STATUS_RETRY)) {
			NTSTATUS flushed = vhdx_sync(image, VHDX_SYNC_ALL);

			if (!NT_STATUS_IS_OK(flushed)) {
				return flushed;
			}
		}
	} while (NT_STATUS_EQUAL(status, NT_STATUS_RETRY));
	return status;
}

/* A fixed disk that has grown: in few pieces, for each may be a flush. */
static NTSTATUS grown_alloc(struct vhdx *image, const struct resize_step *step)
{
	uint64_t total = step->new_size - step->old_size;
	uint64_t piece = MAX(total / 64, VHDX_TIB / 64);
	NTSTATUS status = NT_STATUS_OK;
	uint64_t done;

	for (done = 0; done < total && NT_STATUS_IS_OK(status);
	     done += piece) {
		tell(step, done, total);
		piece = MIN(piece, total - done);
		status = vhdx_alloc(image, step->old_size + done, piece);
	}
	return status;
}

NTSTATUS vhdx_resize(struct vhdx *image, uint64_t new_size, uint32_t flags,
		     vhdx_progress_fn progress, void *private_data)
{
	struct resize_step step = {
		.new_size = new_size,
		.flags = flags,
		.progress = progress,
		.private_data = private_data,
	};
	NTSTATUS status;

	if (image->read_only) {
		return NT_STATUS_MEDIA_WRITE_PROTECTED;
	}
	if (image->geometry.has_parent) {
		return NT_STATUS_NOT_SUPPORTED;
	}
	if (new_size == 0 || new_size > VHDX_MAX_VIRTUAL_SIZE ||
	    new_size % image->geometry.logical_sector_size != 0) {
		return NT_STATUS_INVALID_PARAMETER;
	}
	status = steps_run(image, resize_locked, &step);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (new_size < step.old_size) {
		step.clear_end = bat_sectors(image, step.old_size);
		while (NT_STATUS_IS_OK(status) && !step.clear_done) {
			status = steps_run(image, clear_locked, &step);
		}
	} else if (new_size > step.old_size &&
		   image->geometry.leave_blocks_allocated) {
		status = grown_alloc(image, &step);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return vhdx_flush(image);
}
