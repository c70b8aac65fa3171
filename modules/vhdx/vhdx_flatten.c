/*
 * vfs_rsvd: a child that needs its parents no more
 *
 * For an image that nobody else has open. The steps, each of them stable
 * before the next begins:
 *
 *    copy     every block that parents have something of becomes
 *             FULLY_PRESENT, as writes to all of it would do (vhdx_child.c);
 *             what is zeros there takes no space
 *    bitmaps  their entries become NOT_PRESENT, as they have to be without a
 *             parent (MS-VHDX 2.5.1.2), and so does what the table of a
 *             differencing image has behind the last block (2.5)
 *    unlink   HasParent is cleared and the parent locator goes, in one log
 *             entry: a power cut leaves all of it or nothing
 *    end      the file is cut off where the last block ends
 *
 * Up to "unlink" the image is a child like any other, with a larger part of
 * the disk in it, and can be used as one. A block that is NOT_PRESENT reads as
 * zeros before, from the parents, and after, since there are none. So what the
 * disk reads as stays the same, and the DataWriteGuid does too: it goes on
 * being the parent of its children.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/vhdx/vhdx_private.h"

#define COPY_PIECE ((size_t)VHDX_MIB)
/*
 * Blocks that share a flush, and no more bytes than who waits for the image can
 * wait for
 */
#define MAX_BLOCKS 8
#define MAX_BLOCKS_SIZE (64 * VHDX_MIB)

struct flatten {
	struct vhdx *image;
	struct vhdx_flatten_report *report;
	vhdx_progress_fn progress;
	void *private_data;
	uint8_t *buf;			/* COPY_PIECE */
	uint64_t first;			/* of the blocks to be copied ... */
	uint64_t num;			/* ... are so many */
	uint64_t *bitmaps;		/* their places */
	uint64_t num_bitmaps;
};

static bool goes_on(struct flatten *f, uint64_t offset)
{
	if (f->progress != NULL && !f->report->stopped) {
		f->report->stopped = !f->progress(
			offset, f->image->geometry.virtual_size,
			f->private_data);
	}
	return !f->report->stopped;
}

/* All that were put off: a copy of each, one flush, one log entry */
static NTSTATUS blocks_copy(struct flatten *f)
{
	struct vhdx *image = f->image;
	uint64_t offset = f->first << image->block_shift;
	uint64_t length = f->num << image->block_shift;
	NTSTATUS status;

	if (f->num == 0) {
		return NT_STATUS_OK;
	}
	length = MIN(length, image->geometry.virtual_size - offset);
	status = vhdx_alloc(image, offset, length);
	if (NT_STATUS_IS_OK(status)) {
		f->report->num_copied += f->num;
	}
	f->num = 0;
	return status;
}

static NTSTATUS block_add(struct flatten *f, uint64_t block)
{
	uint64_t max = MIN(MAX_BLOCKS,
			   MAX_BLOCKS_SIZE >> f->image->block_shift);

	if (f->num >= max || block != f->first + f->num) {
		NTSTATUS status = blocks_copy(f);

		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		f->first = block;
	}
	f->num += 1;
	return NT_STATUS_OK;
}

static NTSTATUS range_is_zero(struct flatten *f, uint64_t offset,
			      uint64_t length, bool *is_zero)
{
	*is_zero = true;
	while (length > 0 && *is_zero) {
		struct vhdx_source source;
		NTSTATUS status;

		status = vhdx_source_find(f->image, offset, length, &source);
		if (NT_STATUS_IS_OK(status) && source.storage != NULL) {
			status = vhdx_file_is_zero(source.storage, f->buf,
						   source.file_offset,
						   source.length, is_zero);
		}
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		offset += source.length;
		length -= source.length;
	}
	return NT_STATUS_OK;
}

/* A block of which something is, or could be, in the parents */
static NTSTATUS block_flatten(struct flatten *f, uint64_t block)
{
	struct vhdx *image = f->image;
	uint64_t offset = block << image->block_shift;
	uint64_t length = vhdx_bat_block_length(image, block);
	uint64_t known_fresh = UINT64_MAX;
	bool is_zero = false;
	bool done;
	uint64_t place;
	NTSTATUS status;

	status = range_is_zero(f, offset, length, &is_zero);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (!is_zero) {
		return block_add(f, block);
	}
	status = vhdx_bat_place(image, block, &known_fresh, &place);
	if (NT_STATUS_IS_OK(status) && vhdx_place_is_partial(place)) {
		status = vhdx_child_zero(image, offset, &length, &done);
	}
	return status;
}

/*
 * Blocks that begin at *offset and are not wholly in the image: one of them,
 * or as many as have nothing in the parents either.
 */
static NTSTATUS run_flatten(struct flatten *f, uint64_t *offset,
			    uint64_t length)
{
	struct vhdx *image = f->image;
	uint64_t block = *offset >> image->block_shift;
	struct vhdx_source source;
	NTSTATUS status;

	status = vhdx_source_find(image, *offset, length, &source);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (source.storage == NULL &&
	    source.length > image->geometry.block_size) {
		/* The last one may have something further on. */
		source.length &= ~((uint64_t)image->geometry.block_size - 1);
		*offset += source.length;
		return NT_STATUS_OK;
	}
	*offset += vhdx_bat_block_length(image, block);
	return block_flatten(f, block);
}

static NTSTATUS parents_copy(struct flatten *f)
{
	struct vhdx *image = f->image;
	uint64_t size = image->geometry.virtual_size;
	uint64_t offset = 0;
	NTSTATUS status;

	f->buf = talloc_size(f, COPY_PIECE);
	if (f->buf == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	/* vhdx_map_blocks() tells nothing before. */
	status = vhdx_alloc(image, 0, 0);
	while (NT_STATUS_IS_OK(status) && offset < size &&
	       goes_on(f, offset)) {
		struct vhdx_extent extent;

		status = vhdx_map_blocks(image, offset, size - offset,
					 &extent);
		if (!NT_STATUS_IS_OK(status)) {
			break;
		}
		if (extent.kind == VHDX_EXTENT_PARENT) {
			status = run_flatten(f, &offset, extent.length);
		} else {
			offset += extent.length;
		}
	}
	if (NT_STATUS_IS_OK(status)) {
		status = blocks_copy(f);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_sync(image, VHDX_SYNC_ALL);
	}
	return status;
}

/*
 * LeaveBlocksAllocated, which means nothing in a differencing image, goes
 * with it (2.6.2.1): not all blocks are there.
 */
static NTSTATUS parent_unlink(struct flatten *f)
{
	static const struct GUID locator = VHDX_GUID_PARENT_LOCATOR;
	struct vhdx_change *change = vhdx_change_new(f->image, true);
	uint8_t flags[4] = { 0 };
	NTSTATUS status;

	if (change == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	/* They follow the block size. */
	status = vhdx_change_put(change, f->image->params_offset + 4, flags,
				 sizeof(flags));
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_metadata_remove(f->image, change, &locator);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_change_run(change);
	}
	TALLOC_FREE(change);
	return status;
}

static NTSTATUS bitmaps_find(struct flatten *f)
{
	struct vhdx *image = f->image;
	uint64_t num = ((image->num_blocks - 1) >> image->chunk_shift) + 1;
	uint64_t chunk;

	f->bitmaps = talloc_array(f, uint64_t, num);
	if (f->bitmaps == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	for (chunk = 0; chunk < num; chunk++) {
		NTSTATUS status;
		uint64_t place;

		status = vhdx_bitmap_place(image, chunk, &place);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (place != VHDX_PLACE_NONE) {
			f->bitmaps[f->num_bitmaps] = place;
			f->num_bitmaps += 1;
		}
	}
	return NT_STATUS_OK;
}

/* The BAT without them is stable: give their space back, where possible. */
static void bitmaps_leave(struct flatten *f)
{
	uint64_t i;

	for (i = 0; i < f->num_bitmaps; i++) {
		vhdx_file_punch(f->image->storage, f->bitmaps[i], VHDX_MIB);
	}
}

static NTSTATUS image_flatten(struct flatten *f)
{
	NTSTATUS status;

	if (!f->image->geometry.has_parent) {
		/* Or no more; its end may still be to be cut off. */
		return NT_STATUS_OK;
	}
	f->image->same_data = true;
	status = parents_copy(f);
	if (!NT_STATUS_IS_OK(status) || f->report->stopped) {
		return status;
	}
	status = bitmaps_find(f);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_bat_clear(f->image, VHDX_BAT_BITMAPS);
	}
	if (NT_STATUS_IS_OK(status)) {
		bitmaps_leave(f);
		status = parent_unlink(f);
	}
	return status;
}

NTSTATUS vhdx_flatten(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
		      const struct vhdx_parents *parents,
		      vhdx_progress_fn progress,
		      void *private_data, struct vhdx_flatten_report *report,
		      char **reason)
{
	struct vhdx_repair_report *repair = NULL;
	struct flatten *f = NULL;
	NTSTATUS status;
	NTSTATUS closed;

	*report = (struct vhdx_flatten_report) { .num_copied = 0 };
	f = talloc_zero(mem_ctx, struct flatten);
	if (f == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	f->report = report;
	f->progress = progress;
	f->private_data = private_data;
	status = vhdx_open_chain(mem_ctx, storage, NULL, 0, parents,
				 &f->image, reason);
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(f);
		return status;
	}
	status = image_flatten(f);
	closed = vhdx_close(&f->image);
	if (NT_STATUS_IS_OK(status)) {
		status = closed;
	}
	if (NT_STATUS_IS_OK(status) && !report->stopped) {
		/* Cuts off what is at the end. */
		status = vhdx_repair(f, storage, NULL, progress, private_data,
				     &repair);
	}
	if (NT_STATUS_IS_OK(status) && repair != NULL) {
		report->stopped = repair->left->stopped;
	}
	TALLOC_FREE(f);
	return status;
}
