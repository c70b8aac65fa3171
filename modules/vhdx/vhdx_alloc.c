/*
 * vfs_rsvd: giving blocks a place in the file
 *
 * Any number of processes do this at the same time, any of them can be killed
 * between any two lines of this, and the power can go at any time, with every
 * subset of the writes since the last flush lost or torn. What always holds:
 *
 * A1 A block is only given space that reads as zeros and that nobody else
 *    writes to: what others have left, when vhdx_release.c says so, or space
 *    at the end of the file that nobody had before. A session starts behind
 *    the end of the file as it finds it, since a power cut can have taken back
 *    the entry of a block whose payload is there. What is lost that way, and
 *    what a crash leaves of a reservation, belongs to nothing, until a session
 *    finds it when it begins (T6).
 * A2 The file was flushed with its new size before any log entry or BAT entry
 *    names a place in it (stable_end): an image can always be opened.
 * A3 The BAT entry, and so zeros, is there before the payload is written. Who
 *    reads meanwhile gets zeros or what is written.
 * A4 BAT, log and headers are changed, and the record stored, under the lock
 *    of the record. A process stores what it did after it did it. So the next
 *    one finds either nothing to do, or repeats a step that can be repeated,
 *    or a finished log entry at the head that the record does not know
 *    (L5 in vhdx_log.c).
 * A5 Nobody flushes under the lock, but who opens first, who closes last, and
 *    who changes the size of the disk (vhdx_resize.c).
 *    Where a step needs something to be stable first, the record says that it
 *    was written; whoever comes has it flushed, by itself, and then takes the
 *    next step. So there is nobody to wait for. These flushes need not be of
 *    what is written to the disk (VHDX_SYNC_METADATA), but for T4, and but
 *    in a child.
 * A6 header_copy is a header that a power cut cannot take; only the other one
 *    is written.
 *
 * The steps of a session, each one after a flush of the one before:
 *
 *    headers  OLD      -> WRITTEN  new FileWriteGuid and DataWriteGuid
 *             WRITTEN  -> READY    the same in the second copy
 *    log      NONE     -> WRITTEN  the first entry (L1)
 *             WRITTEN  -> NAMED    its LogGuid in one header
 *             NAMED    -> READY    and in the other
 *    space    ftruncate to growing_end -> stable_end
 *
 * Only NOT_PRESENT (or any other state without a place) -> FULLY_PRESENT is
 * done here, and in a child -> ZERO. What else becomes of a block of a child is
 * in vhdx_child.c, and FULLY_PRESENT -> ZERO in vhdx_release.c.
 *
 * A block in state UNMAPPED or UNDEFINED that still has a FileOffsetMB (others
 * write such) gets a new place; the old one is then leaked, not shared.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/dlinklist.h"
#include "lib/util/tevent_ntstatus.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"

#define SECTOR VHDX_SECTOR_SIZE
#define SECTOR_ENTRIES (SECTOR / VHDX_BAT_ENTRY_SIZE)

/*
 * The file grows by an eighth, at least by 1 GiB and by 16 blocks, at most
 * by 4 GiB and by a whole disk: it is only holes until they are written to,
 * and costs a flush.
 */
#define MIN_GROWTH (1024 * VHDX_MIB)
#define MIN_GROWTH_BLOCKS 16
#define MAX_GROWTH (4096 * VHDX_MIB)

/* See batch_ahead(): from so many blocks on, at most so much */
#define MIN_STREAM 4
#define MAX_AHEAD (16 * VHDX_MIB)

enum alloc_result {
	ALLOC_DONE,	/* all have what they want */
	ALLOC_AGAIN,	/* some of it; the lock was held long enough */
	ALLOC_FLUSH,	/* again after a flush */
};

struct alloc_step {
	struct vhdx_want *wants;
	enum alloc_result result;
	bool prefetch;	/* something to flush that nobody waits for */
	enum vhdx_sync_kind kind;	/* of the flush, whatever it is for */
};

static uint64_t align_up(uint64_t n)
{
	return (n + VHDX_ALIGNMENT - 1) & ~(VHDX_ALIGNMENT - 1);
}

/*
 * Nothing is behind the last structure but what a dead process reserved. Not
 * done where nobody has died: others may have their reasons for a larger file.
 */
static NTSTATUS reservation_drop(struct vhdx *image, uint64_t keep_end,
				 uint64_t *size)
{
	uint64_t end = MAX(image->used_end, keep_end);
	NTSTATUS status;

	if (image->used_end == 0 || image->geometry.leave_blocks_allocated ||
	    image->geometry.has_parent) {
		/* C2 in vhdx_child.c */
		return NT_STATUS_OK;
	}
	end = MAX(end, vhdx_region_end(image));
	if (end >= *size) {
		return NT_STATUS_OK;
	}
	status = vhdx_file_resize(image->storage, end);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	*size = end;
	image->file_size = end;
	return NT_STATUS_OK;
}

/*
 * The file may end where the disk does, within the last block: what follows
 * is that block's nevertheless.
 */
static NTSTATUS last_block_end(struct vhdx *image, uint64_t *end)
{
	uint64_t known_fresh = UINT64_MAX;
	uint64_t place;
	NTSTATUS status;

	*end = 0;
	status = vhdx_bat_place(image, image->num_blocks - 1, &known_fresh,
				&place);
	if (NT_STATUS_IS_OK(status) && (vhdx_place_is_mapped(place) ||
					vhdx_place_is_partial(place))) {
		*end = (place & ~(VHDX_MIB - 1)) + image->geometry.block_size;
	}
	return status;
}

NTSTATUS vhdx_session_start(struct vhdx *image, struct vhdx_state *state,
			    uint64_t keep_end)
{
	uint64_t last_end;
	uint64_t size;
	NTSTATUS status;

	status = vhdx_file_size(image->storage, &size);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (keep_end > 0) {
		status = reservation_drop(image, keep_end, &size);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	state->session = vhdx_unique_number();
	vhdx_shape_publish(image, state);
	state->header_step = VHDX_HEADER_OLD;
	state->log_step = VHDX_LOG_NONE;
	state->log_guid = GUID_zero();
	/* A mark taken now must not speak of entries of the last session. */
	state->log_sequence = 0;
	state->log_head = 0;
	state->log_tail = 0;
	state->log_last = 0;
	state->log_last_tail = 0;
	state->log_free = 0;
	state->log_flushed = 0;
	status = last_block_end(image, &last_end);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	state->first_free = MAX(align_up(size), last_end);	/* A1 */
	state->next_free = state->first_free;
	state->stable_end = size & ~(VHDX_ALIGNMENT - 1);
	state->growing_end = state->stable_end;
	state->num_fills = 0;
	return vhdx_release_start(image, state);
}

NTSTATUS vhdx_session_end(struct vhdx *image, struct vhdx_state *state)
{
	NTSTATUS status;

	if (state->log_step != VHDX_LOG_NONE) {
		status = vhdx_file_flush(image->storage);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (state->log_step == VHDX_LOG_NAMED) {
			/* The flush has just made the newer copy stable. */
			state->header_copy = 1 - state->header_copy;
		}
		state->log_guid = GUID_zero();
		status = vhdx_header_write_both(image, state);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	/* The log is not named any more: see vhdx_log.c for why only now. */
	vhdx_release_end(image, state);
	if (state->growing_end > state->next_free) {
		status = vhdx_file_resize(image->storage, state->next_free);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	state->session = 0;
	return NT_STATUS_OK;
}

static NTSTATUS header_step(struct vhdx *image, struct vhdx_state *state,
			    bool *changed)
{
	NTSTATUS status;

	switch (state->header_step) {
	case VHDX_HEADER_OLD:
		state->file_write_guid = GUID_random();
		if (!image->same_data) {
			state->data_write_guid =
				GUID_all_zero(&image->new_data_guid) ?
				GUID_random() : image->new_data_guid;
		}
		status = vhdx_header_write(image, state);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		state->header_step = VHDX_HEADER_WRITTEN;
		*changed = true;
		return NT_STATUS_RETRY;
	case VHDX_HEADER_WRITTEN:
		if (image->stable.session != state->session ||
		    image->stable.header_step < VHDX_HEADER_WRITTEN) {
			return NT_STATUS_RETRY;
		}
		state->header_copy = 1 - state->header_copy;
		status = vhdx_header_write(image, state);
		if (!NT_STATUS_IS_OK(status)) {
			state->header_copy = 1 - state->header_copy;
			return status;
		}
		state->header_step = VHDX_HEADER_READY;
		*changed = true;
		return NT_STATUS_OK;
	case VHDX_HEADER_READY:
		break;
	}
	return NT_STATUS_OK;
}

static NTSTATUS log_step(struct vhdx *image, struct vhdx_state *state,
			 bool *changed)
{
	bool stable = image->stable.session == state->session &&
		      image->stable.log_step >= state->log_step;
	NTSTATUS status;

	switch (state->log_step) {
	case VHDX_LOG_NONE:
		status = vhdx_log_start(image, state);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		state->log_step = VHDX_LOG_WRITTEN;
		*changed = true;
		return NT_STATUS_RETRY;
	case VHDX_LOG_WRITTEN:
		if (!stable) {
			return NT_STATUS_RETRY;
		}
		status = vhdx_header_write(image, state);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		state->log_step = VHDX_LOG_NAMED;
		*changed = true;
		return NT_STATUS_RETRY;
	case VHDX_LOG_NAMED:
		if (!stable) {
			return NT_STATUS_RETRY;
		}
		state->header_copy = 1 - state->header_copy;
		status = vhdx_header_write(image, state);
		if (!NT_STATUS_IS_OK(status)) {
			state->header_copy = 1 - state->header_copy;
			return status;
		}
		state->log_step = VHDX_LOG_READY;
		state->log_tail = state->log_head;
		state->log_flushed = state->log_sequence;
		*changed = true;
		return NT_STATUS_OK;
	case VHDX_LOG_READY:
		break;
	}
	return NT_STATUS_OK;
}

static uint64_t growth(const struct vhdx *image,
		       const struct vhdx_state *state)
{
	uint64_t block_size = image->geometry.block_size;
	uint64_t batch = align_up(state->next_free / 8);

	batch = MAX(batch, MIN_GROWTH);
	batch = MAX(batch, MIN_GROWTH_BLOCKS * block_size);
	batch = MIN(batch, MAX_GROWTH);
	return MIN(batch, image->num_blocks * block_size);
}

/* Make the file larger; it can be used after a flush. */
NTSTATUS vhdx_space_grow(struct vhdx *image, struct vhdx_state *state,
			 uint64_t want, bool *changed)
{
	uint64_t end = MAX(state->next_free, state->growing_end) +
		       MAX(growth(image, state), want);
	NTSTATUS status;

	if (state->growing_end >= state->next_free + want) {
		return NT_STATUS_OK;
	}
	status = vhdx_file_resize(image->storage, end);
	if (!NT_STATUS_IS_OK(status)) {
		/* Perhaps there is a limit that the smaller size keeps. */
		end = state->next_free + want;
		status = vhdx_file_resize(image->storage, end);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	state->growing_end = end;
	*changed = true;
	return NT_STATUS_OK;
}

NTSTATUS vhdx_batch_sector(struct vhdx *image, struct vhdx_batch *batch,
			   uint64_t file_offset, size_t *slot)
{
	NTSTATUS status;
	size_t i;

	for (i = 0; i < batch->num; i++) {
		if (batch->updates[i].file_offset == file_offset) {
			*slot = i;
			return NT_STATUS_OK;
		}
	}
	if (batch->num == batch->max) {
		return NT_STATUS_RETRY;
	}
	status = vhdx_metadata_read(image, batch->updates[i].sector, SECTOR,
				    file_offset);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	batch->dirty[i] = false;
	batch->updates[i].file_offset = file_offset;
	batch->num += 1;
	*slot = i;
	return NT_STATUS_OK;
}

NTSTATUS vhdx_batch_take(struct vhdx *image, struct vhdx_state *state,
			 struct vhdx_batch *batch, uint64_t length,
			 uint64_t *place)
{
	if (length == image->geometry.block_size &&
	    vhdx_release_take(image, state, place)) {
		return NT_STATUS_OK;
	}
	if (batch->next_free + length > state->stable_end) {
		batch->need_space = true;
		return NT_STATUS_RETRY;
	}
	*place = batch->next_free;
	batch->next_free += length;
	return NT_STATUS_OK;
}

/*
 * What a block of a child needs that is not all there, up to end. *take: to
 * have a place will do, there is nothing in the parents.
 */
static NTSTATUS batch_child(struct vhdx *image, struct vhdx_state *state,
			    struct vhdx_batch *batch, struct vhdx_want *want,
			    uint64_t block, uint64_t place, uint64_t end,
			    bool *take)
{
	uint64_t start = block << image->block_shift;
	bool has_data = true;
	NTSTATUS status;

	if (place == VHDX_PLACE_PARENT) {
		status = vhdx_child_has_data(
			image, start, vhdx_bat_block_length(image, block),
			&has_data);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	*take = !has_data && want->kind != VHDX_WANT_ZEROS;
	if (!has_data) {
		return NT_STATUS_OK;
	}
	return vhdx_child_serve(image, state, batch, want,
				MAX(want->reached, start), end);
}

/*
 * Look the block up in the file, and do what is wanted of it, up to end; NULL:
 * a place.
 */
static NTSTATUS batch_block(struct vhdx *image, struct vhdx_state *state,
			    struct vhdx_batch *batch, struct vhdx_want *want,
			    uint64_t block, uint64_t end)
{
	uint64_t index = vhdx_bat_index(image, block);
	bool take = true;
	uint8_t *entry = NULL;
	uint64_t place;
	NTSTATUS status;
	size_t slot;

	status = vhdx_batch_sector(image, batch, image->bat.offset +
				   index / SECTOR_ENTRIES * SECTOR, &slot);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	entry = batch->updates[slot].sector +
		(index % SECTOR_ENTRIES) * VHDX_BAT_ENTRY_SIZE;
	place = vhdx_bat_entry_place(image, block, PULL_LE_U64(entry, 0),
				     NULL);
	if (place == VHDX_PLACE_BAD) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	if (vhdx_place_is_mapped(place)) {
		if (want != NULL) {
			want->missed = true;
		}
		return NT_STATUS_OK;
	}
	if (want != NULL && want->kind == VHDX_WANT_STATE_ZERO) {
		if (place == VHDX_PLACE_NONE) {
			return NT_STATUS_OK;
		}
		PUSH_LE_U64(entry, 0, VHDX_PAYLOAD_ZERO);
		batch->dirty[slot] = true;
		return vhdx_place_is_partial(place) ?
		       vhdx_child_leave(image, batch, want, block, place) :
		       NT_STATUS_OK;
	}
	if (place != VHDX_PLACE_NONE) {
		status = batch_child(image, state, batch, want, block, place,
				     end, &take);
	} else if (want != NULL && want->kind == VHDX_WANT_ZEROS) {
		take = false;
	}
	if (NT_STATUS_IS_OK(status) && take) {
		status = vhdx_batch_take(image, state, batch,
					 image->geometry.block_size, &place);
	}
	if (!NT_STATUS_IS_OK(status) || !take) {
		return status;
	}
	if (want != NULL) {
		want->missed = true;
	}
	PUSH_LE_U64(entry, 0, VHDX_BAT_ENTRY(VHDX_PAYLOAD_FULLY_PRESENT,
					     place));
	batch->dirty[slot] = true;
	image->stream_length = (block == image->stream_next) ?
			       image->stream_length + 1 : 1;
	image->stream_next = block + 1;
	batch->has_taken = true;
	return NT_STATUS_OK;
}

/*
 * Who fills one new block after the other gets the next ones with it, at most
 * as many as there were: they are but holes, and one log entry serves them
 * all. With an entry a block the log would be full, and wait for a flush of
 * all that was written, before the disk is done with what the log was flushed
 * for the last time.
 */
static void batch_ahead(struct vhdx *image, struct vhdx_state *state,
			struct vhdx_batch *batch)
{
	uint64_t num = MIN(image->stream_length,
			   MAX_AHEAD / image->geometry.block_size);
	uint64_t block = image->stream_next;
	uint64_t end = MIN(block + num, image->num_blocks);

	if (!batch->has_taken || image->stream_length < MIN_STREAM ||
	    image->geometry.has_parent) {
		return;
	}
	for (; block < end; block++) {
		NTSTATUS status = batch_block(image, state, batch, NULL,
					      block, 0);
		if (!NT_STATUS_IS_OK(status)) {
			break;
		}
	}
}

static struct vhdx_batch *batch_new(struct vhdx *image,
				    const struct vhdx_state *state)
{
	size_t max = vhdx_log_max_updates(image);
	struct vhdx_batch *batch = NULL;
	uint8_t *buf = NULL;
	size_t i;

	batch = talloc_zero(image, struct vhdx_batch);
	if (batch == NULL) {
		return NULL;
	}
	batch->updates = talloc_array(batch, struct vhdx_log_update, max);
	batch->dirty = talloc_array(batch, bool, max);
	buf = talloc_size(batch, max * SECTOR);
	if (batch->updates == NULL || batch->dirty == NULL || buf == NULL) {
		TALLOC_FREE(batch);
		return NULL;
	}
	for (i = 0; i < max; i++) {
		batch->updates[i].sector = buf + i * SECTOR;
	}
	batch->max = max;
	batch->next_free = state->next_free;
	if (image->geometry.has_parent && !vhdx_child_begin(image, state,
							     batch)) {
		TALLOC_FREE(batch);
	}
	return batch;
}

static void batch_sector_is(struct vhdx *image,
			    const struct vhdx_log_update *update)
{
	uint64_t offset = update->file_offset - image->bat.offset;

	if (update->file_offset >= image->bat.offset &&
	    offset < image->bat.length) {
		vhdx_bat_sector_changed(image, offset / SECTOR,
					update->sector);
	}
}

/* Keep the sectors that change; the others were only looked at. */
static size_t batch_pack(struct vhdx *image, struct vhdx_batch *batch)
{
	size_t num = 0;
	size_t i;

	for (i = 0; i < batch->num; i++) {
		if (!batch->dirty[i]) {
			batch_sector_is(image, &batch->updates[i]);
			continue;
		}
		batch->updates[num] = batch->updates[i];
		num += 1;
	}
	return num;
}

/* One want, as far as it goes into the batch */
static NTSTATUS want_serve(struct vhdx *image, struct vhdx_state *state,
			   struct vhdx_batch *batch, struct vhdx_want *want,
			   bool *waits)
{
	/* What is off a disk that has shrunk, the request will see. */
	uint64_t end = MIN(want->end, image->geometry.virtual_size);
	uint64_t start = want->offset;

	while (start < end) {
		uint64_t block = start >> image->block_shift;
		uint64_t stop = MIN(end, (block + 1) << image->block_shift);
		NTSTATUS status;

		status = batch_block(image, state, batch, want, block, stop);
		if (NT_STATUS_IS_OK(status)) {
			if (want->reached >= start) {
				want->reached = stop;
			}
		} else if (NT_STATUS_EQUAL(status, NT_STATUS_PENDING)) {
			*waits = true;
		} else {
			return status;
		}
		start = stop;
	}
	if (want->reached >= end) {
		want->reached = want->end;
	}
	return NT_STATUS_OK;
}

static NTSTATUS wants_serve(struct vhdx *image, struct vhdx_state *state,
			    struct vhdx_batch *batch, struct alloc_step *step,
			    bool *waits)
{
	struct vhdx_want *want = NULL;

	for (want = step->wants; want != NULL; want = want->next) {
		want->reached = want->offset;
	}
	for (want = step->wants; want != NULL; want = want->next) {
		NTSTATUS status;

		status = want_serve(image, state, batch, want, waits);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	return NT_STATUS_OK;
}

/* The first that has not all it wants; NULL: there is none. */
static struct vhdx_want *wants_move(struct alloc_step *step)
{
	struct vhdx_want *left = NULL;
	struct vhdx_want *want = NULL;

	for (want = step->wants; want != NULL; want = want->next) {
		want->offset = want->reached;
		if (left == NULL && want->offset < want->end) {
			left = want;
		}
	}
	return left;
}

/*
 * One log entry's worth of blocks. The wants move on by what is mapped when
 * this returns with NT_STATUS_OK.
 */
static NTSTATUS blocks_step(struct vhdx *image, struct vhdx_state *state,
			    struct alloc_step *step, bool *changed)
{
	struct vhdx_batch *batch = NULL;
	struct vhdx_want *left = NULL;
	uint64_t old_next_free = state->next_free;
	struct vhdx_released *old_released = NULL;
	uint32_t old_num_released = state->num_released;
	bool waits = false;
	NTSTATUS status;
	size_t num;
	size_t i;

	status = vhdx_log_make_room(image, state,
				    vhdx_log_max_updates(image), changed);
	if (NT_STATUS_EQUAL(status, NT_STATUS_RETRY)) {
		step->result = ALLOC_FLUSH;
		return NT_STATUS_OK;
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	batch = batch_new(image, state);
	if (batch == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	if (state->num_released > 0) {
		old_released = talloc_memdup(batch, state->released,
					     state->num_released *
					     sizeof(state->released[0]));
		if (old_released == NULL) {
			TALLOC_FREE(batch);
			return NT_STATUS_NO_MEMORY;
		}
	}

	status = wants_serve(image, state, batch, step, &waits);
	if (NT_STATUS_IS_OK(status)) {
		batch_ahead(image, state, batch);
	}
	if (!NT_STATUS_IS_OK(status) &&
	    !NT_STATUS_EQUAL(status, NT_STATUS_RETRY)) {
		goto undo;
	}

	num = batch_pack(image, batch);
	state->next_free = batch->next_free;
	if (num > 0) {
		status = vhdx_log_append(image, state, batch->updates, num,
					 false);
		if (!NT_STATUS_IS_OK(status)) {
			goto undo;
		}
		*changed = true;
		for (i = 0; i < num; i++) {
			batch_sector_is(image, &batch->updates[i]);
		}
	}
	if (state->next_free != old_next_free) {
		*changed = true;
	}
	if (image->geometry.has_parent) {
		status = vhdx_child_end(image, state, batch, step->wants,
					changed);
		if (!NT_STATUS_IS_OK(status)) {
			TALLOC_FREE(batch);
			return status;
		}
	}

	left = wants_move(step);
	step->result = (left == NULL) ? ALLOC_DONE : ALLOC_AGAIN;
	status = NT_STATUS_OK;
	if (left != NULL && batch->need_space &&
	    vhdx_release_is_near(state)) {
		step->result = ALLOC_FLUSH;
		step->kind = VHDX_SYNC_ALL;
	} else if (left != NULL && batch->need_space) {
		uint64_t need = left->end - left->offset;

		/* The first and the last block may be wanted in part. */
		need = align_up(need) + 2 * image->geometry.block_size;
		need = MIN(need, MAX_GROWTH);
		status = vhdx_space_grow(image, state, need, changed);
		step->result = ALLOC_FLUSH;
	} else if (left != NULL && waits) {
		step->result = ALLOC_FLUSH;
	}
	TALLOC_FREE(batch);
	return status;
undo:
	state->next_free = old_next_free;
	state->num_released = old_num_released;
	if (old_num_released > 0) {
		memcpy(state->released, old_released,
		       old_num_released * sizeof(old_released[0]));
	}
	TALLOC_FREE(batch);
	return status;
}

/* Half of a reservation is left: get the next while nobody has to wait. */
static void space_prefetch(struct vhdx *image, struct vhdx_state *state,
			   struct alloc_step *step, bool *changed)
{
	uint64_t left = state->stable_end - MIN(state->next_free,
						state->stable_end);
	NTSTATUS status;

	if (vhdx_release_is_near(state)) {
		/* That comes first. */
		if (vhdx_release_wants_flush(state)) {
			step->prefetch = true;
			step->kind = VHDX_SYNC_ALL;
		}
		return;
	}
	if (left > growth(image, state) / 2 ||
	    state->growing_end > state->stable_end) {
		return;
	}
	status = vhdx_space_grow(image, state,
			    left + image->geometry.block_size, changed);
	if (NT_STATUS_IS_OK(status)) {
		step->prefetch = true;
	}
	/* Who needs it will see the error. */
}

NTSTATUS vhdx_step_begin(struct vhdx *image, struct vhdx_state *state,
			 bool *changed)
{
	struct vhdx_shape shape = vhdx_state_shape(state);
	NTSTATUS status;

	if (!vhdx_state_is_user(image, state)) {
		/* Taken for dead: the image may be somebody else's now. */
		return NT_STATUS_FILE_CLOSED;
	}
	vhdx_mark_apply(image, state, changed);
	status = vhdx_shape_follow(image, &shape);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	status = vhdx_log_recover(image, state, changed);
	if (NT_STATUS_IS_OK(status)) {
		vhdx_release_ack(image, state, changed);
	}
	return status;
}

NTSTATUS vhdx_session_prepare(struct vhdx *image, struct vhdx_state *state,
			      bool *changed)
{
	bool log_was_ready = state->log_step == VHDX_LOG_READY;
	NTSTATUS status;

	status = vhdx_step_begin(image, state, changed);
	if (NT_STATUS_IS_OK(status)) {
		status = header_step(image, state, changed);
	}
	if (NT_STATUS_IS_OK(status)) {
		image->session_ready = true;
		status = log_step(image, state, changed);
	}
	if (NT_STATUS_IS_OK(status) && !log_was_ready) {
		/* To be stored first, as in alloc_step_locked() */
		return NT_STATUS_RETRY;
	}
	return status;
}

NTSTATUS vhdx_space_reserve(struct vhdx *image, struct vhdx_state *state,
			    uint64_t length, uint64_t *offset, bool *changed)
{
	NTSTATUS status;

	if (state->next_free + length > state->stable_end) {
		status = vhdx_space_grow(image, state, length, changed);
		return NT_STATUS_IS_OK(status) ? NT_STATUS_RETRY : status;
	}
	*offset = state->next_free;
	state->next_free += length;
	*changed = true;
	return NT_STATUS_OK;
}

static NTSTATUS alloc_step_locked(struct vhdx *image,
				  struct vhdx_state *state, bool *changed,
				  void *private_data)
{
	struct alloc_step *step = private_data;
	bool log_was_ready = state->log_step == VHDX_LOG_READY;
	NTSTATUS status;

	step->kind = VHDX_SYNC_METADATA;
	status = vhdx_step_begin(image, state, changed);
	if (NT_STATUS_IS_OK(status) && step->wants != NULL) {
		vhdx_release_clean(image, state, changed);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = header_step(image, state, changed);
	}
	if (NT_STATUS_IS_OK(status)) {
		image->session_ready = true;
		if (step->wants == NULL) {
			step->result = ALLOC_DONE;
			return NT_STATUS_OK;
		}
		status = log_step(image, state, changed);
	}
	if (NT_STATUS_EQUAL(status, NT_STATUS_RETRY)) {
		/* The same flush may as well make room for the blocks. */
		step->result = ALLOC_FLUSH;
		if (vhdx_release_is_near(state)) {
			step->kind = VHDX_SYNC_ALL;
		} else if (step->wants != NULL &&
			   state->header_step == VHDX_HEADER_READY) {
			vhdx_space_grow(image, state, image->geometry.block_size,
				   changed);
		}
		return NT_STATUS_OK;
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (!log_was_ready) {
		/*
		 * To be stored before the first entry is written, or nobody
		 * would look for that (L5).
		 */
		step->result = ALLOC_AGAIN;
		return NT_STATUS_OK;
	}
	status = blocks_step(image, state, step, changed);
	if (NT_STATUS_IS_OK(status) && step->result != ALLOC_FLUSH) {
		space_prefetch(image, state, step, changed);
		step->prefetch |= vhdx_log_wants_flush(image, state);
	}
	return status;
}

static NTSTATUS alloc_wait(struct vhdx *image, struct vhdx_want *want)
{
	struct alloc_step step = { .wants = want };
	NTSTATUS status;

	do {
		status = vhdx_state_locked(image, alloc_step_locked, &step);
		if (!NT_STATUS_IS_OK(status) || step.result == ALLOC_DONE) {
			break;
		}
		if (step.result == ALLOC_FLUSH) {
			status = vhdx_sync(image, step.kind);
		}
	} while (NT_STATUS_IS_OK(status));
	return status;
}

NTSTATUS vhdx_alloc_want(struct vhdx *image, struct vhdx_want *want)
{
	return alloc_wait(image, want);
}

NTSTATUS vhdx_alloc(struct vhdx *image, uint64_t offset, uint64_t length)
{
	struct vhdx_want want = {
		.kind = VHDX_WANT_PLACE,
		.offset = offset,
		.end = offset + length,
	};

	return alloc_wait(image, length > 0 ? &want : NULL);
}

/*
 * The asynchronous form: all requests of this process that wait go into the
 * same step, so they share log entries and flushes.
 */
struct vhdx_alloc_queue {
	struct vhdx *image;
	struct vhdx_alloc_state *waiters;
	struct tevent_immediate *im;
	bool running;
	struct tevent_req *prefetch;
};

struct vhdx_alloc_state {
	struct vhdx_alloc_state *prev, *next;
	struct tevent_req *req;
	struct tevent_context *ev;
	struct vhdx_alloc_queue *queue;
	bool has_range;
	struct vhdx_want want;
};

static void queue_run(struct tevent_context *ev, struct tevent_immediate *im,
		      void *private_data);

static int alloc_state_destructor(struct vhdx_alloc_state *state)
{
	if (state->queue != NULL) {
		DLIST_REMOVE(state->queue->waiters, state);
		state->queue = NULL;
	}
	return 0;
}

static void waiter_finish(struct vhdx_alloc_state *state, NTSTATUS status)
{
	DLIST_REMOVE(state->queue->waiters, state);
	state->queue = NULL;
	/* Its callback may do anything, also free other waiters. */
	tevent_req_defer_callback(state->req, state->ev);
	if (NT_STATUS_IS_OK(status)) {
		tevent_req_done(state->req);
	} else {
		tevent_req_nterror(state->req, status);
	}
}

static bool waiter_is_served(const struct vhdx_alloc_state *state)
{
	if (!state->has_range) {
		return state->queue->image->session_ready;
	}
	return state->want.offset == state->want.end;
}

static void queue_schedule(struct vhdx_alloc_queue *queue)
{
	if (queue->waiters == NULL) {
		queue->running = false;
		return;
	}
	queue->running = true;
	tevent_schedule_immediate(queue->im, queue->waiters->ev, queue_run,
				  queue);
}

static void prefetch_done(struct tevent_req *subreq)
{
	struct vhdx_alloc_queue *queue = tevent_req_callback_data(
		subreq, struct vhdx_alloc_queue);

	/* An error shows again when somebody needs it. */
	TALLOC_FREE(subreq);
	queue->prefetch = NULL;
}

static void queue_prefetch(struct vhdx_alloc_queue *queue,
			   struct tevent_context *ev,
			   enum vhdx_sync_kind kind)
{
	if (queue->prefetch != NULL) {
		return;
	}
	queue->prefetch = vhdx_sync_send(queue, ev, queue->image, kind);
	if (queue->prefetch != NULL) {
		tevent_req_set_callback(queue->prefetch, prefetch_done,
					queue);
	}
}

static void queue_fail(struct vhdx_alloc_queue *queue, NTSTATUS status)
{
	while (queue->waiters != NULL) {
		waiter_finish(queue->waiters, status);
	}
	queue->running = false;
}

/* The image goes, and with it what they wait for. */
static int queue_destructor(struct vhdx_alloc_queue *queue)
{
	queue_fail(queue, NT_STATUS_FILE_CLOSED);
	return 0;
}

static void queue_flushed(struct tevent_req *subreq)
{
	struct vhdx_alloc_queue *queue = tevent_req_callback_data(
		subreq, struct vhdx_alloc_queue);
	NTSTATUS status;

	status = vhdx_sync_recv(subreq);
	TALLOC_FREE(subreq);
	if (!NT_STATUS_IS_OK(status)) {
		queue_fail(queue, status);
		return;
	}
	queue_schedule(queue);
}

static void queue_flush(struct vhdx_alloc_queue *queue,
			enum vhdx_sync_kind kind)
{
	struct tevent_req *subreq = NULL;

	if (queue->waiters == NULL) {
		queue_schedule(queue);
		return;
	}
	subreq = vhdx_sync_send(queue, queue->waiters->ev, queue->image, kind);
	if (subreq == NULL) {
		queue_fail(queue, NT_STATUS_NO_MEMORY);
		return;
	}
	tevent_req_set_callback(subreq, queue_flushed, queue);
}

static void queue_run(struct tevent_context *ev, struct tevent_immediate *im,
		      void *private_data)
{
	struct vhdx_alloc_queue *queue = private_data;
	struct alloc_step step = { .wants = NULL };
	struct vhdx_alloc_state *waiter = NULL;
	struct vhdx_alloc_state *next = NULL;
	NTSTATUS status;

	/* A list of its own for the step, which takes off what is served. */
	for (waiter = queue->waiters; waiter != NULL; waiter = waiter->next) {
		if (waiter->has_range) {
			waiter->want.prev = NULL;
			waiter->want.next = NULL;
			DLIST_ADD_END(step.wants, &waiter->want);
		}
	}
	status = vhdx_state_locked(queue->image, alloc_step_locked, &step);
	if (!NT_STATUS_IS_OK(status)) {
		queue_fail(queue, status);
		return;
	}
	if (step.prefetch) {
		queue_prefetch(queue, ev, step.kind);
	}
	for (waiter = queue->waiters; waiter != NULL; waiter = next) {
		next = waiter->next;
		if (waiter_is_served(waiter)) {
			waiter_finish(waiter, NT_STATUS_OK);
		}
	}
	if (step.result == ALLOC_FLUSH) {
		queue_flush(queue, step.kind);
	} else {
		queue_schedule(queue);
	}
}

static struct vhdx_alloc_queue *queue_get(struct vhdx *image)
{
	struct vhdx_alloc_queue *queue = image->alloc_queue;

	if (queue != NULL) {
		return queue;
	}
	queue = talloc_zero(image, struct vhdx_alloc_queue);
	if (queue == NULL) {
		return NULL;
	}
	queue->image = image;
	queue->im = tevent_create_immediate(queue);
	if (queue->im == NULL) {
		TALLOC_FREE(queue);
		return NULL;
	}
	talloc_set_destructor(queue, queue_destructor);
	image->alloc_queue = queue;
	return queue;
}

static struct tevent_req *alloc_send(TALLOC_CTX *mem_ctx,
				     struct tevent_context *ev,
				     struct vhdx *image,
				     enum vhdx_want_kind kind,
				     const void *buf, uint64_t offset,
				     uint64_t length)
{
	struct tevent_req *req = NULL;
	struct vhdx_alloc_state *state = NULL;
	struct vhdx_alloc_queue *queue = NULL;

	req = tevent_req_create(mem_ctx, &state, struct vhdx_alloc_state);
	if (req == NULL) {
		return NULL;
	}
	queue = queue_get(image);
	if (tevent_req_nomem(queue, req)) {
		return tevent_req_post(req, ev);
	}
	state->req = req;
	state->ev = ev;
	state->queue = queue;
	state->has_range = length > 0;
	state->want = (struct vhdx_want) {
		.kind = kind,
		.buf = buf,
		.start = offset,
		.offset = offset,
		.end = offset + length,
	};
	DLIST_ADD_END(queue->waiters, state);
	talloc_set_destructor(state, alloc_state_destructor);

	if (!queue->running) {
		queue_schedule(queue);
	}
	return req;
}

struct tevent_req *vhdx_alloc_send(TALLOC_CTX *mem_ctx,
				   struct tevent_context *ev,
				   struct vhdx *image, uint64_t offset,
				   uint64_t length)
{
	return alloc_send(mem_ctx, ev, image, VHDX_WANT_PLACE, NULL, offset,
			  length);
}

NTSTATUS vhdx_alloc_recv(struct tevent_req *req)
{
	return tevent_req_simple_recv_ntstatus(req);
}

struct tevent_req *vhdx_alloc_data_send(TALLOC_CTX *mem_ctx,
					struct tevent_context *ev,
					struct vhdx *image, const void *buf,
					uint64_t offset, uint64_t length)
{
	return alloc_send(mem_ctx, ev, image, VHDX_WANT_DATA, buf, offset,
			  length);
}

NTSTATUS vhdx_alloc_data_recv(struct tevent_req *req, bool *done)
{
	struct vhdx_alloc_state *state = tevent_req_data(
		req, struct vhdx_alloc_state);

	*done = !state->want.missed;
	return tevent_req_simple_recv_ntstatus(req);
}
