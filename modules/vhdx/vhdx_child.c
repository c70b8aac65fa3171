/*
 * vfs_rsvd: writing to a differencing image
 *
 * A block that the parents have something of is PARTIALLY_PRESENT from the
 * first write to it on (MS-VHDX 2.5.1.1): the sectors that have a bit in the
 * sector bitmap (2.4) are in the child, the others in the parents. When all
 * are in the child, it is FULLY_PRESENT. A sector that is there is written to
 * as anywhere. One that is not takes three steps:
 *
 *    fill     under the lock: the data goes to its place, and the record says
 *             that it is there
 *    flush    the file
 *    publish  under the lock, in one log entry: the bits, and where they are
 *             the first ones, PARTIALLY_PRESENT and the place in the BAT
 *
 * and no step waits for another process. What always holds:
 *
 * C1 A sector without a bit reads as the parents do, which do not change, and
 *    a bit is only set when what is in the sector is stable. So any mix of old
 *    and new bits and entries that a power cut makes reads as before but for
 *    writes that were not flushed: A3 in vhdx_alloc.c, with "what it read as"
 *    for "zeros".
 * C2 A block that is NOT_PRESENT has the place that its fills name, all the
 *    same one, until the BAT does. It is taken, and the record stored, before
 *    anything is written there: A1. If nobody gets as far as to publish, the
 *    place is leaked, and what a crash leaves of a reservation is not given
 *    back either.
 * C3 A fill is published by who made it, while the request lives that it was
 *    made for. So what a process left that died, or has been fenced off, is
 *    never seen later.
 * C4 Who fills a sector takes it out of the fills of other processes, so that
 *    theirs do not make it seen (C3), nor does what the parents have come over
 *    it. A process whose fill is gone does it again. So that two who write to
 *    the same sector do not do that to each other for ever, data waits for
 *    other data for some flushes (MAX_WAITS).
 * C5 Bits of a block that is NOT_PRESENT mean nothing: a power cut, or another
 *    program, may have left some. The first fill of it clears them in the log;
 *    the flush that comes before its bits is set makes that stable, too, and
 *    where there was no sector bitmap, the new one.
 * C6 An entry of a child does not come back to NOT_PRESENT or to
 *    PARTIALLY_PRESENT (what is trimmed becomes ZERO or UNMAPPED, or else the
 *    parent would show through), and a bit is not cleared. A merge empties a
 *    child (vhdx_merge.c), but alone.
 *
 * A flush for each sector would be slow, and so would be to copy all of a block
 * at its first write: with a write, what is around it is filled from the
 * parents, a few times as much as there is of the block already. So who writes
 * little copies little, and who writes much does not wait for many flushes.
 *
 * A block that reads as zeros everywhere needs none of this.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/dlinklist.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"

#define SECTOR VHDX_SECTOR_SIZE
#define SECTOR_ENTRIES (SECTOR / VHDX_BAT_ENTRY_SIZE)
#define SECTOR_BITS (SECTOR * UINT64_C(8))

/* One fill; all of a step, which keeps the lock; what is around one */
#define MAX_FILL (8 * VHDX_MIB)
#define MAX_STEP (16 * VHDX_MIB)
#define AROUND 4
#define MIN_AROUND 4096
#define MAX_AROUND VHDX_MIB

/* Flushes, C4 */
#define MAX_WAITS 4

#define COPY_PIECE VHDX_MIB

/* Written when the log entry is, and the record stored: C2 */
struct vhdx_put {
	struct vhdx_put *prev, *next;
	const struct vhdx_want *want;	/* NULL: what the parents have */
	uint64_t offset;
	uint64_t length;
	uint64_t place;
};

NTSTATUS vhdx_child_has_data(struct vhdx *image, uint64_t offset,
			     uint64_t length, bool *yes)
{
	*yes = false;
	while (length > 0) {
		struct vhdx_source source;
		NTSTATUS status;

		status = vhdx_parent_source(image, offset, length, &source);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (source.storage != NULL) {
			*yes = true;
			return NT_STATUS_OK;
		}
		offset += source.length;
		length -= source.length;
	}
	return NT_STATUS_OK;
}

static uint64_t block_start(const struct vhdx *image, uint64_t offset)
{
	return offset & ~((uint64_t)image->geometry.block_size - 1);
}

static uint64_t block_end(const struct vhdx *image, uint64_t offset)
{
	return block_start(image, offset) +
	       vhdx_bat_block_length(image, offset >> image->block_shift);
}

/* What the log entry is going to make of a sector of the file */
static NTSTATUS sector_peek(struct vhdx *image, const struct vhdx_batch *batch,
			    uint64_t file_offset, uint8_t buf[SECTOR])
{
	size_t i;

	for (i = 0; i < batch->num; i++) {
		if (batch->updates[i].file_offset == file_offset) {
			memcpy(buf, batch->updates[i].sector, SECTOR);
			return NT_STATUS_OK;
		}
	}
	return vhdx_metadata_read(image, buf, SECTOR, file_offset);
}

static NTSTATUS sector_change(struct vhdx *image, struct vhdx_batch *batch,
			      uint64_t file_offset, uint8_t **sector)
{
	NTSTATUS status;
	size_t slot;

	status = vhdx_batch_sector(image, batch, file_offset, &slot);
	if (NT_STATUS_IS_OK(status)) {
		*sector = batch->updates[slot].sector;
		batch->dirty[slot] = true;
	}
	return status;
}

/* The BAT */

static NTSTATUS entry_get(struct vhdx *image, const struct vhdx_batch *batch,
			  uint64_t index, uint64_t *entry)
{
	uint8_t buf[SECTOR];
	NTSTATUS status;

	status = sector_peek(image, batch, image->bat.offset +
			     index / SECTOR_ENTRIES * SECTOR, buf);
	if (NT_STATUS_IS_OK(status)) {
		*entry = PULL_LE_U64(buf, index % SECTOR_ENTRIES *
					  VHDX_BAT_ENTRY_SIZE);
	}
	return status;
}

static NTSTATUS entry_set(struct vhdx *image, struct vhdx_batch *batch,
			  uint64_t index, uint64_t entry)
{
	uint8_t *sector = NULL;
	uint64_t old;
	NTSTATUS status;

	status = entry_get(image, batch, index, &old);
	if (!NT_STATUS_IS_OK(status) || old == entry) {
		return status;
	}
	status = sector_change(image, batch, image->bat.offset +
			       index / SECTOR_ENTRIES * SECTOR, &sector);
	if (NT_STATUS_IS_OK(status)) {
		PUSH_LE_U64(sector, index % SECTOR_ENTRIES *
				    VHDX_BAT_ENTRY_SIZE, entry);
	}
	return status;
}

static NTSTATUS block_place(struct vhdx *image, const struct vhdx_batch *batch,
			    uint64_t offset, uint64_t *place)
{
	uint64_t block = offset >> image->block_shift;
	uint64_t entry;
	NTSTATUS status;

	status = entry_get(image, batch, vhdx_bat_index(image, block), &entry);
	if (NT_STATUS_IS_OK(status)) {
		*place = vhdx_bat_entry_place(image, block, entry, NULL);
	}
	return status;
}

/* Sector bitmaps */

/* That of an offset's chunk, or VHDX_PLACE_NONE */
static NTSTATUS bitmap_get(struct vhdx *image, const struct vhdx_batch *batch,
			   uint64_t offset, uint64_t *place)
{
	uint64_t chunk = offset >> image->block_shift >> image->chunk_shift;
	uint64_t entry;
	NTSTATUS status;

	status = entry_get(image, batch, vhdx_bitmap_index(image, chunk),
			   &entry);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	*place = vhdx_bitmap_entry_place(image, chunk, entry, NULL);
	return (*place == VHDX_PLACE_BAD) ? NT_STATUS_FILE_CORRUPT_ERROR :
					    NT_STATUS_OK;
}

/* One sector of a bitmap, and what of one block it is about: [start, end) */
struct bits {
	uint64_t file_offset;
	uint64_t start;
	uint64_t end;
	unsigned sector_size;
	uint8_t buf[SECTOR];
};

static NTSTATUS bits_get(struct vhdx *image, const struct vhdx_batch *batch,
			 uint64_t offset, struct bits *bits)
{
	uint64_t sector_size = image->geometry.logical_sector_size;
	uint64_t span = SECTOR_BITS * sector_size;
	uint64_t bitmap;
	NTSTATUS status;

	status = bitmap_get(image, batch, offset, &bitmap);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (bitmap == VHDX_PLACE_NONE) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	bits->file_offset = bitmap + vhdx_bitmap_bit(image, offset) /
				     SECTOR_BITS * SECTOR;
	bits->start = MAX(block_start(image, offset), offset / span * span);
	bits->end = MIN(block_end(image, offset), (offset / span + 1) * span);
	bits->sector_size = sector_size;
	return sector_peek(image, batch, bits->file_offset, bits->buf);
}

static bool bit_is_set(const struct bits *bits, uint64_t offset)
{
	uint64_t bit = offset / bits->sector_size % SECTOR_BITS;

	return (bits->buf[bit / 8] >> (bit % 8) & 1) != 0;
}

/* From a sector that is, or is not, how far are all? */
static uint64_t bits_run(const struct bits *bits, uint64_t offset,
			 uint64_t end)
{
	bool is_set = bit_is_set(bits, offset);
	uint64_t next = offset - offset % bits->sector_size;

	end = MIN(end, bits->end);
	while (next < end && bit_is_set(bits, next) == is_set) {
		next += bits->sector_size;
	}
	return MIN(next, end);
}

/* Of whole sectors in one block */
static NTSTATUS bits_change(struct vhdx *image, struct vhdx_batch *batch,
			    uint64_t offset, uint64_t end, bool set)
{
	while (offset < end) {
		struct bits bits;
		bool differs = false;
		uint64_t stop;
		uint8_t *sector = NULL;
		NTSTATUS status;

		status = bits_get(image, batch, offset, &bits);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		stop = MIN(end, bits.end);
		for (; offset < stop; offset += bits.sector_size) {
			uint64_t bit = offset / bits.sector_size % SECTOR_BITS;

			if (bit_is_set(&bits, offset) != set) {
				bits.buf[bit / 8] ^= 1 << (bit % 8);
				differs = true;
			}
		}
		offset = stop;
		if (!differs) {
			continue;
		}
		status = sector_change(image, batch, bits.file_offset,
				       &sector);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		memcpy(sector, bits.buf, SECTOR);
	}
	return NT_STATUS_OK;
}

/* Is all of the block there? */
static NTSTATUS bits_all_set(struct vhdx *image,
			     const struct vhdx_batch *batch, uint64_t offset,
			     bool *yes)
{
	uint64_t next = block_start(image, offset);
	uint64_t end = block_end(image, offset);

	*yes = true;
	while (*yes && next < end) {
		struct bits bits;
		NTSTATUS status;

		status = bits_get(image, batch, next, &bits);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		*yes = bit_is_set(&bits, next) &&
		       bits_run(&bits, next, end) == bits.end;
		next = bits.end;
	}
	return NT_STATUS_OK;
}

/* Fills */

static uint64_t fill_end(const struct vhdx_fill *fill)
{
	return fill->offset + fill->length;
}

static bool fill_is_stable(const struct vhdx *image,
			   const struct vhdx_state *state,
			   const struct vhdx_fill *fill)
{
	return image->stable.session == state->session &&
	       fill->sequence <= image->stable.fill_sequence;
}

static void fill_drop(struct vhdx_batch *batch, struct vhdx_fill *fill)
{
	size_t i = fill - batch->fills;

	batch->num_fills -= 1;
	memmove(fill, fill + 1,
		(batch->num_fills - i) * sizeof(batch->fills[0]));
}

/* What the want has put at an offset; NULL: nothing, or it was taken away */
static struct vhdx_fill *fill_find(const struct vhdx *image,
				   const struct vhdx_batch *batch,
				   const struct vhdx_want *want,
				   uint64_t offset)
{
	uint32_t i;

	for (i = 0; i < batch->num_fills; i++) {
		struct vhdx_fill *fill = &batch->fills[i];

		if (fill->instance == image->instance &&
		    fill->want == want->id && !fill->copied &&
		    fill->offset <= offset && offset < fill_end(fill)) {
			return fill;
		}
	}
	return NULL;
}

/* Where it is full there is somebody who did not come back. */
static void fill_add(struct vhdx_batch *batch, const struct vhdx_fill *fill)
{
	if (batch->num_fills == VHDX_MAX_FILLS) {
		fill_drop(batch, &batch->fills[0]);
	}
	batch->fills[batch->num_fills] = *fill;
	batch->num_fills += 1;
}

/* C2 */
static NTSTATUS fill_place(struct vhdx *image, struct vhdx_state *state,
			   struct vhdx_batch *batch, uint64_t offset,
			   uint64_t *place)
{
	uint64_t start = block_start(image, offset);
	uint32_t i;

	for (i = 0; i < batch->num_fills; i++) {
		if (block_start(image, batch->fills[i].offset) == start) {
			*place = batch->fills[i].place;
			return NT_STATUS_OK;
		}
	}
	return vhdx_batch_take(image, state, batch,
			       image->geometry.block_size, place);
}

/* C5 */
static NTSTATUS fill_bitmap(struct vhdx *image, struct vhdx_state *state,
			    struct vhdx_batch *batch, uint64_t offset)
{
	uint64_t chunk = offset >> image->block_shift >> image->chunk_shift;
	uint64_t place;
	NTSTATUS status;

	status = bitmap_get(image, batch, offset, &place);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (place != VHDX_PLACE_NONE) {
		return bits_change(image, batch, block_start(image, offset),
				   block_end(image, offset), false);
	}
	status = vhdx_batch_take(image, state, batch, VHDX_MIB, &place);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return entry_set(image, batch, vhdx_bitmap_index(image, chunk),
			 VHDX_BAT_ENTRY(VHDX_BITMAP_PRESENT, place));
}

/*
 * The range is ours to fill, or a part of it up to *end; C4. Not *yes: it is
 * of another process.
 */
static void fill_claim(struct vhdx *image, struct vhdx_batch *batch,
		       const struct vhdx_want *want, uint64_t offset,
		       uint64_t *end, bool *yes)
{
	uint64_t sector_size = image->geometry.logical_sector_size;
	uint32_t i = 0;

	*yes = true;
	offset -= offset % sector_size;
	while (i < batch->num_fills) {
		struct vhdx_fill *fill = &batch->fills[i];

		if (fill->instance == image->instance ||
		    fill->offset >= *end || fill_end(fill) <= offset) {
			i += 1;
		} else if (fill->copied || want->num_waits > MAX_WAITS) {
			fill_drop(batch, fill);
		} else if (fill->offset > offset) {
			*end = fill->offset;
		} else {
			*end = MIN(*end, fill_end(fill));
			*yes = false;
			return;
		}
	}
}

/* Does one that is on its way have the sector with an offset? */
static bool sector_is_filled(const struct vhdx_batch *batch, uint64_t offset)
{
	uint32_t i;

	for (i = 0; i < batch->num_fills; i++) {
		const struct vhdx_fill *fill = &batch->fills[i];

		if (fill->offset <= offset && offset < fill_end(fill)) {
			return true;
		}
	}
	return false;
}

/* By how much there is of what one sector of the bitmap is about */
static uint64_t around_size(const struct bits *bits)
{
	uint64_t size = MIN_AROUND;
	uint64_t num = 0;
	uint64_t next;

	for (next = bits->start; next < bits->end; next += bits->sector_size) {
		num += bit_is_set(bits, next) ? bits->sector_size : 0;
	}
	while (size < MAX_AROUND && size * 2 <= AROUND * num) {
		size *= 2;
	}
	return size;
}

/*
 * [*first, *last) is filled with [start, stop): whole sectors, up to what is
 * there or on its way.
 */
static NTSTATUS around_find(struct vhdx *image, const struct vhdx_batch *batch,
			    bool is_partial, uint64_t start, uint64_t stop,
			    uint64_t *first, uint64_t *last)
{
	uint64_t sector_size = image->geometry.logical_sector_size;
	uint64_t size = MIN_AROUND;
	struct bits before = { .start = block_start(image, start) };
	struct bits after = { .end = block_end(image, start) };
	uint64_t low, high;
	NTSTATUS status = NT_STATUS_OK;

	if (is_partial) {
		status = bits_get(image, batch, start, &before);
	}
	if (NT_STATUS_IS_OK(status) && is_partial) {
		status = bits_get(image, batch, stop - 1, &after);
		size = around_size(&before);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	low = MAX(before.start, start & ~(size - 1));
	high = MIN(after.end, (stop + size - 1) & ~(size - 1));
	while (start > low && !sector_is_filled(batch, start - 1) &&
	       !(is_partial && bit_is_set(&before, start - 1))) {
		start -= sector_size;
	}
	while (stop < high && !sector_is_filled(batch, stop) &&
	       !(is_partial && bit_is_set(&after, stop))) {
		stop = MIN(high, stop + sector_size);
	}
	*first = start;
	*last = stop;
	return NT_STATUS_OK;
}

static NTSTATUS put_add(struct vhdx_batch *batch, const struct vhdx_want *want,
			uint64_t offset, uint64_t end, uint64_t place)
{
	struct vhdx_put *put = NULL;

	if (offset == end) {
		return NT_STATUS_OK;
	}
	put = talloc(batch, struct vhdx_put);
	if (put == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	*put = (struct vhdx_put) {
		.want = want, .offset = offset, .length = end - offset,
		.place = place,
	};
	DLIST_ADD_END(batch->puts, put);
	batch->put_length += end - offset;
	return NT_STATUS_OK;
}

/* The rest of the sectors that a range begins and ends in */
static NTSTATUS edges_put(struct vhdx_batch *batch, uint64_t start,
			  uint64_t offset, uint64_t end, uint64_t stop,
			  uint64_t place)
{
	NTSTATUS status = NT_STATUS_OK;

	/* Or another request of ours has put it there already. */
	if (start < offset && !sector_is_filled(batch, start)) {
		status = put_add(batch, NULL, start, offset, place);
	}
	if (NT_STATUS_IS_OK(status) && end < stop &&
	    !sector_is_filled(batch, end)) {
		status = put_add(batch, NULL, end, stop, place);
	}
	return status;
}

/* place: of the block, VHDX_PLACE_PARENT when it has none */
static NTSTATUS fill_make(struct vhdx *image, struct vhdx_state *state,
			  struct vhdx_batch *batch, struct vhdx_want *want,
			  uint64_t place, uint64_t offset, uint64_t end)
{
	uint64_t sector_size = image->geometry.logical_sector_size;
	uint64_t start = offset - offset % sector_size;
	uint64_t stop = MIN(block_end(image, offset),
			    (end + sector_size - 1) / sector_size *
			    sector_size);
	bool is_partial = place != VHDX_PLACE_PARENT;
	bool is_copy = want->kind == VHDX_WANT_PLACE;
	uint64_t first = start;
	uint64_t last = stop;
	struct vhdx_fill fill;
	NTSTATUS status = NT_STATUS_OK;

	if (!is_partial) {
		status = fill_place(image, state, batch, offset, &place);
	}
	if (NT_STATUS_IS_OK(status) && !is_partial &&
	    stop - start < block_end(image, offset) -
			   block_start(image, offset)) {
		status = fill_bitmap(image, state, batch, offset);
	}
	if (NT_STATUS_IS_OK(status) && !is_copy) {
		status = around_find(image, batch, is_partial, start, stop,
				     &first, &last);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = put_add(batch, NULL, first, start, place);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = put_add(batch, NULL, stop, last, place);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = edges_put(batch, start, offset, end, stop, place);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = put_add(batch, is_copy ? NULL : want, offset, end,
				 place);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (want->id == 0) {
		image->last_want += 1;
		want->id = image->last_want;
	}
	fill = (struct vhdx_fill) {
		.instance = image->instance,
		.want = want->id,
		.sequence = state->fill_sequence + 1,
		.place = place,
		.offset = start,
		.length = stop - start,
	};
	fill_add(batch, &fill);
	fill.copied = true;
	if (first < start) {
		fill.offset = first;
		fill.length = start - first;
		fill_add(batch, &fill);
	}
	if (stop < last) {
		fill.offset = stop;
		fill.length = last - stop;
		fill_add(batch, &fill);
	}
	return NT_STATUS_OK;
}

/* The entry of a block, some or all of which is there now */
static NTSTATUS block_publish(struct vhdx *image, struct vhdx_batch *batch,
			      uint64_t offset, uint64_t place, bool is_whole)
{
	uint64_t block = offset >> image->block_shift;
	enum vhdx_payload_state how = VHDX_PAYLOAD_FULLY_PRESENT;

	if (!is_whole) {
		NTSTATUS status = bits_all_set(image, batch, offset,
					       &is_whole);

		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	if (!is_whole) {
		how = VHDX_PAYLOAD_PARTIALLY_PRESENT;
	}
	return entry_set(image, batch, vhdx_bat_index(image, block),
			 VHDX_BAT_ENTRY(how, place));
}

static NTSTATUS fill_publish(struct vhdx *image, struct vhdx_batch *batch,
			     const struct vhdx_fill *fill)
{
	bool is_whole = fill->offset == block_start(image, fill->offset) &&
			fill_end(fill) == block_end(image, fill->offset);
	NTSTATUS status = NT_STATUS_OK;

	if (!is_whole) {
		status = bits_change(image, batch, fill->offset,
				     fill_end(fill), true);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = block_publish(image, batch, fill->offset, fill->place,
				       is_whole);
	}
	return status;
}

/* What was filled around one goes with it. */
static NTSTATUS fills_publish(struct vhdx *image, struct vhdx_batch *batch,
			      const struct vhdx_fill *first)
{
	struct vhdx_fill one = *first;
	uint64_t start = block_start(image, one.offset);
	uint32_t i = 0;

	while (i < batch->num_fills) {
		struct vhdx_fill *fill = &batch->fills[i];
		NTSTATUS status;

		if (fill->instance != one.instance ||
		    fill->want != one.want ||
		    fill->sequence != one.sequence ||
		    block_start(image, fill->offset) != start) {
			i += 1;
			continue;
		}
		status = fill_publish(image, batch, fill);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		fill_drop(batch, fill);
	}
	return NT_STATUS_OK;
}

/* The piece of a range that starts at offset; *end is where it ends. */
static NTSTATUS piece_serve(struct vhdx *image, struct vhdx_state *state,
			    struct vhdx_batch *batch, struct vhdx_want *want,
			    uint64_t place, uint64_t offset, uint64_t *end,
			    bool *has_waited)
{
	struct vhdx_fill *fill = fill_find(image, batch, want, offset);
	bool is_partial = vhdx_place_is_partial(place);
	bool is_ours;
	NTSTATUS status;

	if (fill != NULL && is_partial &&
	    fill->place != place - VHDX_PLACE_PARTIAL) {
		/* Another was faster. */
		fill_drop(batch, fill);
		fill = NULL;
	}
	if (fill != NULL) {
		*end = MIN(*end, fill_end(fill));
		return fill_is_stable(image, state, fill) ?
		       fills_publish(image, batch, fill) : NT_STATUS_PENDING;
	}
	if (is_partial) {
		struct bits bits;

		status = bits_get(image, batch, offset, &bits);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		*end = bits_run(&bits, offset, *end);
		place -= VHDX_PLACE_PARTIAL;
		if (bit_is_set(&bits, offset) &&
		    want->kind == VHDX_WANT_PLACE) {
			/* A power cut, or others, left it with all of them? */
			return block_publish(image, batch, offset, place,
					     false);
		}
		if (bit_is_set(&bits, offset)) {
			/* Another was faster: as to any other sector */
			return put_add(batch, want, offset, *end, place);
		}
	}
	*end = MIN(*end, offset + MAX_FILL);
	fill_claim(image, batch, want, offset, end, &is_ours);
	if (!is_ours) {
		*has_waited = true;
		return NT_STATUS_PENDING;
	}
	if (batch->put_length > 0 &&
	    batch->put_length + (*end - offset) > MAX_STEP) {
		return NT_STATUS_RETRY;
	}
	status = fill_make(image, state, batch, want, place, offset, *end);
	return NT_STATUS_IS_OK(status) ? NT_STATUS_PENDING : status;
}

NTSTATUS vhdx_child_serve(struct vhdx *image, struct vhdx_state *state,
			  struct vhdx_batch *batch, struct vhdx_want *want,
			  uint64_t offset, uint64_t end)
{
	NTSTATUS result = NT_STATUS_OK;
	bool has_waited = false;

	while (offset < end) {
		uint64_t next = end;
		uint64_t place;
		NTSTATUS status;

		status = block_place(image, batch, offset, &place);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (vhdx_place_is_mapped(place)) {
			/* With what we have just published */
			want->missed |= want->kind != VHDX_WANT_PLACE;
			break;
		}
		status = piece_serve(image, state, batch, want, place, offset,
				     &next, &has_waited);
		if (NT_STATUS_EQUAL(status, NT_STATUS_PENDING)) {
			result = status;
		} else if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (NT_STATUS_IS_OK(status) && want->reached == offset) {
			want->reached = next;
		}
		offset = next;
	}
	want->num_waits += has_waited ? 1 : 0;
	return result;
}

/* Writing */

static NTSTATUS parents_put(struct vhdx *image, const struct vhdx_put *put,
			    uint64_t file_offset)
{
	uint64_t offset = put->offset;
	uint64_t length = put->length;
	uint8_t *buf = NULL;
	NTSTATUS status = NT_STATUS_OK;

	while (length > 0 && NT_STATUS_IS_OK(status)) {
		struct vhdx_source source;

		status = vhdx_parent_source(image, offset,
					    MIN(length, COPY_PIECE), &source);
		if (!NT_STATUS_IS_OK(status)) {
			break;
		}
		if (source.storage == NULL) {
			/* Who was here before may have left something. */
			status = vhdx_file_zero(image->storage, file_offset,
						source.length, true);
		} else {
			if (buf == NULL) {
				buf = talloc_size(image, MIN(put->length,
							     COPY_PIECE));
			}
			if (buf == NULL) {
				return NT_STATUS_NO_MEMORY;
			}
			status = vhdx_file_read(source.storage, buf,
						source.length,
						source.file_offset);
			if (NT_STATUS_IS_OK(status)) {
				status = vhdx_file_write(image->storage, buf,
							 source.length,
							 file_offset);
			}
		}
		offset += source.length;
		file_offset += source.length;
		length -= source.length;
	}
	TALLOC_FREE(buf);
	return status;
}

static NTSTATUS put_write(struct vhdx *image, const struct vhdx_put *put)
{
	const struct vhdx_want *want = put->want;
	uint64_t file_offset = put->place + put->offset -
			       block_start(image, put->offset);

	if (want == NULL) {
		return parents_put(image, put, file_offset);
	}
	if (want->kind == VHDX_WANT_STATE_ZERO) {
		/* Who is still at it does no harm; nobody gets the place. */
		vhdx_file_punch(image->storage, file_offset, put->length);
		return NT_STATUS_OK;
	}
	if (want->kind == VHDX_WANT_ZEROS) {
		return vhdx_file_zero(image->storage, file_offset,
				      put->length, true);
	}
	return vhdx_file_write(image->storage,
			       want->buf + (put->offset - want->start),
			       put->length, file_offset);
}

NTSTATUS vhdx_child_leave(struct vhdx *image, struct vhdx_batch *batch,
			  const struct vhdx_want *want, uint64_t block,
			  uint64_t place)
{
	uint64_t start = block << image->block_shift;

	return put_add(batch, want, start, block_end(image, start),
		       place - VHDX_PLACE_PARTIAL);
}

bool vhdx_child_begin(struct vhdx *image, const struct vhdx_state *state,
		      struct vhdx_batch *batch)
{
	if (image->fills == NULL) {
		image->fills = talloc_array(image, struct vhdx_fill,
					    VHDX_MAX_FILLS);
	}
	batch->fills = talloc_array(batch, struct vhdx_fill, VHDX_MAX_FILLS);
	if (image->fills == NULL || batch->fills == NULL) {
		return false;
	}
	if (state->num_fills > 0) {
		memcpy(batch->fills, state->fills,
		       state->num_fills * sizeof(batch->fills[0]));
	}
	batch->num_fills = state->num_fills;
	return true;
}

/* What somebody has put into a block that another made a whole one, say */
static void fills_forget(struct vhdx *image, struct vhdx_batch *batch,
			 const struct vhdx_want *wants)
{
	const struct vhdx_want *want = NULL;

	for (want = wants; want != NULL; want = want->next) {
		uint32_t i = 0;

		if (want->id == 0 || want->reached < want->end) {
			continue;
		}
		while (i < batch->num_fills) {
			struct vhdx_fill *fill = &batch->fills[i];

			if (fill->instance == image->instance &&
			    fill->want == want->id) {
				fill_drop(batch, fill);
			} else {
				i += 1;
			}
		}
	}
}

NTSTATUS vhdx_child_end(struct vhdx *image, struct vhdx_state *state,
			struct vhdx_batch *batch,
			const struct vhdx_want *wants, bool *changed)
{
	const struct vhdx_put *put = NULL;

	fills_forget(image, batch, wants);
	if (batch->puts == NULL && batch->num_fills == state->num_fills) {
		return NT_STATUS_OK;
	}
	*changed = true;
	if (batch->puts != NULL) {
		/* C2 */
		NTSTATUS status = vhdx_state_store(image, state);

		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	for (put = batch->puts; put != NULL; put = put->next) {
		NTSTATUS status = put_write(image, put);

		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	memcpy(image->fills, batch->fills,
	       batch->num_fills * sizeof(batch->fills[0]));
	state->fills = image->fills;
	state->num_fills = batch->num_fills;
	state->fill_sequence += 1;
	return NT_STATUS_OK;
}

NTSTATUS vhdx_child_zero(struct vhdx *image, uint64_t offset, uint64_t *length,
			 bool *done)
{
	uint64_t block_size = image->geometry.block_size;
	uint64_t end = block_end(image, offset);
	struct vhdx_want want = {
		.kind = VHDX_WANT_ZEROS,
		.offset = offset,
		.start = offset,
		.end = MIN(offset + *length, end),
	};
	NTSTATUS status;

	if (offset == block_start(image, offset) && offset + *length >= end) {
		want.kind = VHDX_WANT_STATE_ZERO;
		want.end = offset + *length;
		if (want.end < image->geometry.virtual_size) {
			/* Only the last block of the disk can be short. */
			want.end &= ~(block_size - 1);
		}
	}
	*length = want.end - offset;
	status = vhdx_alloc_want(image, &want);
	*done = !want.missed;
	return status;
}
