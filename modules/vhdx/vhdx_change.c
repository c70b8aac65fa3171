/*
 * vfs_rsvd: metadata that changes as a whole or not at all
 *
 * One log entry (MS-VHDX 2.3) for sectors anywhere in the BAT, the metadata
 * region or the region tables. For who has the image alone: what is put is put
 * into the sectors as they were read, without the lock.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/vhdx/vhdx_private.h"

#define SECTOR VHDX_SECTOR_SIZE
#define BAT_PIECE VHDX_MIB

struct vhdx_change {
	struct vhdx *image;
	bool at_once;
	size_t max;
	size_t num;
	struct vhdx_log_update updates[];
};

struct vhdx_change *vhdx_change_new(struct vhdx *image, bool at_once)
{
	size_t max = vhdx_log_max_updates(image);
	struct vhdx_change *change = NULL;

	change = talloc_zero_size(image, sizeof(*change) +
				  max * sizeof(change->updates[0]));
	if (change == NULL) {
		return NULL;
	}
	change->image = image;
	change->at_once = at_once;
	change->max = max;
	return change;
}

static NTSTATUS change_sector(struct vhdx_change *change, uint64_t offset,
			      uint8_t **sector)
{
	struct vhdx_log_update *update = &change->updates[change->num];
	NTSTATUS status;
	size_t i;

	for (i = 0; i < change->num; i++) {
		if (change->updates[i].file_offset == offset) {
			*sector = change->updates[i].sector;
			return NT_STATUS_OK;
		}
	}
	if (change->num == change->max) {
		return NT_STATUS_RETRY;
	}
	update->file_offset = offset;
	update->sector = talloc_size(change, SECTOR);
	if (update->sector == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	status = vhdx_metadata_read(change->image, update->sector, SECTOR,
				    offset);
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(update->sector);
		return status;
	}
	change->num += 1;
	*sector = update->sector;
	return NT_STATUS_OK;
}

NTSTATUS vhdx_change_put(struct vhdx_change *change, uint64_t offset,
			 const void *buf, size_t length)
{
	uint64_t first = offset - offset % SECTOR;
	const uint8_t *p = buf;
	uint8_t *sector = NULL;
	uint64_t at;
	NTSTATUS status;

	/* All of its sectors first: none, or all of it. */
	for (at = first; at < offset + length; at += SECTOR) {
		status = change_sector(change, at, &sector);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	while (length > 0) {
		size_t skip = offset % SECTOR;
		size_t n = MIN(length, SECTOR - skip);

		status = change_sector(change, offset - skip, &sector);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		memcpy(sector + skip, p, n);
		p += n;
		offset += n;
		length -= n;
	}
	return NT_STATUS_OK;
}

static NTSTATUS change_locked(struct vhdx *image, struct vhdx_state *state,
			      bool *changed, void *private_data)
{
	const struct vhdx_change *change = private_data;
	NTSTATUS status;
	size_t i;

	status = vhdx_session_prepare(image, state, changed);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_log_make_room(image, state, change->max,
					    changed);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_log_append(image, state, change->updates,
					 change->num, change->at_once);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	*changed = true;
	for (i = 0; i < change->num; i++) {
		uint64_t offset = change->updates[i].file_offset;

		if (offset >= image->bat.offset &&
		    offset < image->bat.offset + image->bat.length) {
			vhdx_bat_sector_changed(
				image, (offset - image->bat.offset) / SECTOR,
				change->updates[i].sector);
		}
	}
	return NT_STATUS_OK;
}

NTSTATUS vhdx_change_run(struct vhdx_change *change)
{
	NTSTATUS status;

	if (change->num == 0) {
		return NT_STATUS_OK;
	}
	do {
		status = vhdx_state_locked(change->image, change_locked,
					   change);
		if (NT_STATUS_EQUAL(status, NT_STATUS_RETRY)) {
			NTSTATUS flushed = vhdx_sync(change->image,
						     VHDX_SYNC_ALL);

			if (!NT_STATUS_IS_OK(flushed)) {
				return flushed;
			}
		}
	} while (NT_STATUS_EQUAL(status, NT_STATUS_RETRY));
	for (; change->num > 0; change->num--) {
		TALLOC_FREE(change->updates[change->num - 1].sector);
	}
	return status;
}

/* Entries of the BAT that become 0 */

static bool is_to_clear(const struct vhdx *image, uint64_t index,
			enum vhdx_bat_entries which)
{
	bool is_bitmap = vhdx_bat_is_bitmap(image, index);

	if (which == VHDX_BAT_PAYLOAD) {
		return !is_bitmap;
	}
	/* Of a differencing image, the table goes on behind the last block. */
	return is_bitmap ||
	       index > vhdx_bat_index(image, image->num_blocks - 1);
}

static NTSTATUS piece_clear(struct vhdx_change *change, uint64_t first,
			    uint64_t num, const uint8_t *buf,
			    enum vhdx_bat_entries which)
{
	static const uint8_t zeros[VHDX_BAT_ENTRY_SIZE];
	struct vhdx *image = change->image;
	uint64_t i;

	for (i = 0; i < num; i++) {
		NTSTATUS status = NT_STATUS_OK;

		if (PULL_LE_U64(buf, i * VHDX_BAT_ENTRY_SIZE) == 0 ||
		    !is_to_clear(image, first + i, which)) {
			continue;
		}
		do {
			if (NT_STATUS_EQUAL(status, NT_STATUS_RETRY)) {
				status = vhdx_change_run(change);
				if (!NT_STATUS_IS_OK(status)) {
					return status;
				}
			}
			status = vhdx_change_put(
				change, image->bat.offset +
				(first + i) * VHDX_BAT_ENTRY_SIZE,
				zeros, sizeof(zeros));
		} while (NT_STATUS_EQUAL(status, NT_STATUS_RETRY));
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	return NT_STATUS_OK;
}

NTSTATUS vhdx_bat_clear(struct vhdx *image, enum vhdx_bat_entries which)
{
	uint64_t num = vhdx_bat_num_entries(image);
	uint64_t piece = BAT_PIECE / VHDX_BAT_ENTRY_SIZE;
	struct vhdx_change *change = vhdx_change_new(image, false);
	NTSTATUS status = NT_STATUS_OK;
	uint8_t *buf = NULL;
	uint64_t first;

	if (change == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	buf = talloc_size(change, BAT_PIECE);
	if (buf == NULL) {
		TALLOC_FREE(change);
		return NT_STATUS_NO_MEMORY;
	}
	for (first = 0; first < num && NT_STATUS_IS_OK(status);
	     first += piece) {
		piece = MIN(piece, num - first);
		status = vhdx_metadata_read(
			image, buf, piece * VHDX_BAT_ENTRY_SIZE,
			image->bat.offset + first * VHDX_BAT_ENTRY_SIZE);
		if (NT_STATUS_IS_OK(status)) {
			status = piece_clear(change, first, piece, buf,
					     which);
		}
	}
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_change_run(change);
	}
	TALLOC_FREE(change);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_sync(image, VHDX_SYNC_ALL);
	}
	return status;
}
