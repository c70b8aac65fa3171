/*
 * vfs_rsvd: what of an image takes space
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * vhdx_zero() takes places from whole blocks, but not always, and makes holes
 * in the others. So what takes space is for the BAT and the file to say.
 */

#include "replace.h"
#include "system/filesys.h"
#include "modules/vhdx/vhdx_private.h"

bool vhdx_file_has_data(const struct vhdx_storage *storage, uint64_t offset,
			uint64_t *length)
{
#if defined(SEEK_DATA) && defined(SEEK_HOLE)
	off_t next;

	if (storage->ops->seek == NULL) {
		return true;
	}
	next = storage->ops->seek(storage->private_data, offset, SEEK_DATA);
	if (next == -1) {
		/* ENXIO: a hole, to the end of the file */
		return errno != ENXIO;
	}
	if ((uint64_t)next > offset) {
		*length = MIN(*length, next - offset);
		return false;
	}
	next = storage->ops->seek(storage->private_data, offset, SEEK_HOLE);
	if (next != -1 && (uint64_t)next > offset) {
		*length = MIN(*length, next - offset);
	}
#endif
	return true;
}

NTSTATUS vhdx_provisioned(struct vhdx *image, uint64_t offset, uint64_t length,
			  uint64_t *run_length, bool *provisioned)
{
	struct vhdx_source source;
	NTSTATUS status;

	status = vhdx_source_find(image, offset, length, &source);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	*run_length = source.length;
	*provisioned = source.storage != NULL &&
		       vhdx_file_has_data(source.storage,
					  source.file_offset, run_length);
	return NT_STATUS_OK;
}
