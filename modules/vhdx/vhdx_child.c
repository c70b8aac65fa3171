/*
 * vfs_rsvd: writing to a differencing image
 *
 * A block of a child is FULLY_PRESENT, or what it reads as is all in the
 * parents and in what is PARTIALLY_PRESENT. The first write to one of those
 * copies all of it:
 *
 *    reserve    a place at the end of the file, under the lock (next_free in
 *               the record): it is nobody else's from then on
 *    copy       what the block reads as to that place, without the lock
 *    flush      the file
 *    publish    FULLY_PRESENT and the place in the BAT, under the lock, if its
 *               entry is what it was when the place was reserved
 *
 * and only then the write goes to that place. What always holds:
 *
 * C1 What is not FULLY_PRESENT does not change: parents are open for reading
 *    only, and nobody writes to a block that is PARTIALLY_PRESENT, or to its
 *    bits. So a copy needs no lock, and two processes copy the same.
 * C2 Nobody but its maker writes to a place before the BAT names it, and the
 *    maker only before. Who finds that another has published first throws its
 *    copy away; the place is leaked (as one that is PARTIALLY_PRESENT is by
 *    its copy): who comes late with a write to it does no harm. For that,
 *    what a crash leaves of a reservation is not given back either.
 * C3 When the BAT, or an entry of the log, names the place, all of the copy is
 *    stable. So any mix of old and new entries that a power cut makes reads
 *    as before but for writes that were not flushed: A3 in vhdx_alloc.c, with
 *    "what it read as" for "zeros".
 * C4 An entry of a child does not come back to NOT_PRESENT or to what is
 *    PARTIALLY_PRESENT (what is trimmed becomes ZERO or UNMAPPED, or else the
 *    parent would show through). So an entry that is what it was never was
 *    anything else. A merge empties a child (vhdx_merge.c), but alone.
 *
 * A block that reads as zeros everywhere needs no copy.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/dlinklist.h"
#include "modules/vhdx/vhdx_private.h"

/* What is copied at a time: others wait meanwhile. */
#define COPY_PIECE VHDX_MIB

NTSTATUS vhdx_child_has_data(struct vhdx *image, uint64_t block, bool *yes)
{
	uint64_t offset = block << image->block_shift;
	uint64_t length = vhdx_bat_block_length(image, block);

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

/* The place is zeros as yet (A1 in vhdx_alloc.c): only data is copied. */
static NTSTATUS piece_copy(struct vhdx *image, struct vhdx_copy *copy,
			   uint64_t left)
{
	uint64_t offset = (copy->block << image->block_shift) + copy->done;
	struct vhdx_source source;
	uint8_t *buf = NULL;
	NTSTATUS status;

	status = vhdx_source_find(image, offset, left, &source);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (source.storage == NULL) {
		copy->done += source.length;
		return NT_STATUS_OK;
	}
	source.length = MIN(source.length, COPY_PIECE);
	buf = talloc_size(image, source.length);
	if (buf == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	status = vhdx_file_read(source.storage, buf, source.length,
				source.file_offset);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_file_write(image->storage, buf, source.length,
					 copy->place + copy->done);
	}
	TALLOC_FREE(buf);
	if (NT_STATUS_IS_OK(status)) {
		copy->done += source.length;
	}
	return status;
}

NTSTATUS vhdx_copies_step(struct vhdx *image, struct vhdx_copy *copies,
			  bool *more)
{
	struct vhdx_copy *copy = NULL;

	*more = false;
	for (copy = copies; copy != NULL; copy = copy->next) {
		uint64_t length = vhdx_bat_block_length(image, copy->block);

		if (copy->done < length) {
			*more = true;
			return piece_copy(image, copy, length - copy->done);
		}
	}
	return NT_STATUS_OK;
}

void vhdx_copies_flushed(struct vhdx *image, struct vhdx_copy *copies)
{
	struct vhdx_copy *copy = NULL;

	for (copy = copies; copy != NULL; copy = copy->next) {
		copy->stable |= copy->done ==
				vhdx_bat_block_length(image, copy->block);
	}
}

void vhdx_copies_free(struct vhdx_copy **copies)
{
	while (*copies != NULL) {
		struct vhdx_copy *copy = *copies;

		DLIST_REMOVE(*copies, copy);
		TALLOC_FREE(copy);
	}
}

NTSTATUS vhdx_child_zero(struct vhdx *image, uint64_t offset, uint64_t length)
{
	uint64_t block_size = image->geometry.block_size;
	uint64_t block = offset >> image->block_shift;
	uint64_t in_block = offset & (block_size - 1);
	uint64_t whole = vhdx_bat_block_length(image, block);

	if (in_block != 0 || length < whole) {
		return vhdx_alloc(image, offset,
				  MIN(length, whole - in_block));
	}
	if (length > block_size &&
	    offset + length < image->geometry.virtual_size) {
		/* Only the last block of the disk can be short. */
		length -= length & (block_size - 1);
	}
	return vhdx_alloc_zero(image, offset, length);
}
