/*
 * vfs_rsvd: whole reads and writes on the storage
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/samba_util.h"
#include "libcli/util/error.h"
#include "modules/vhdx/vhdx_private.h"

#define PIECE ((size_t)VHDX_MIB)

NTSTATUS vhdx_errno_status(int err)
{
	if (err == 0) {
		/* A storage that fails without saying why */
		return NT_STATUS_UNEXPECTED_IO_ERROR;
	}
	return map_nt_error_from_unix_common(err);
}

NTSTATUS vhdx_file_read(struct vhdx_storage *storage, void *buf,
			size_t length, uint64_t offset)
{
	uint8_t *p = buf;

	while (length > 0) {
		ssize_t n = storage->ops->pread(storage->private_data, p,
						length, offset);
		if (n == -1 && errno == EINTR) {
			continue;
		}
		if (n == -1) {
			return vhdx_errno_status(errno);
		}
		if (n == 0) {
			return NT_STATUS_END_OF_FILE;
		}
		p += n;
		offset += n;
		length -= n;
	}
	return NT_STATUS_OK;
}

NTSTATUS vhdx_file_write(struct vhdx_storage *storage, const void *buf,
			 size_t length, uint64_t offset)
{
	const uint8_t *p = buf;

	while (length > 0) {
		ssize_t n = storage->ops->pwrite(storage->private_data, p,
						 length, offset);
		if (n == -1 && errno == EINTR) {
			continue;
		}
		if (n == -1) {
			return vhdx_errno_status(errno);
		}
		if (n == 0) {
			return NT_STATUS_DISK_FULL;
		}
		p += n;
		offset += n;
		length -= n;
	}
	return NT_STATUS_OK;
}

NTSTATUS vhdx_file_flush(struct vhdx_storage *storage)
{
	if (storage->ops->fsync(storage->private_data) == -1) {
		return vhdx_errno_status(errno);
	}
	return NT_STATUS_OK;
}

NTSTATUS vhdx_file_flush_range(struct vhdx_storage *storage, uint64_t offset,
			       uint64_t length)
{
	if (storage->ops->fsync_range(storage->private_data, offset,
				      length) == -1) {
		return vhdx_errno_status(errno);
	}
	return NT_STATUS_OK;
}

NTSTATUS vhdx_file_resize(struct vhdx_storage *storage, uint64_t size)
{
	if (storage->ops->ftruncate(storage->private_data, size) == -1) {
		return vhdx_errno_status(errno);
	}
	return NT_STATUS_OK;
}

NTSTATUS vhdx_file_size(struct vhdx_storage *storage, uint64_t *size)
{
	off_t n = storage->ops->size(storage->private_data);

	if (n < 0) {
		return vhdx_errno_status(errno);
	}
	*size = n;
	return NT_STATUS_OK;
}

static bool cannot_punch(int err)
{
	return err == EOPNOTSUPP || err == ENOSYS || err == ENOTSUP;
}

NTSTATUS vhdx_file_punch(struct vhdx_storage *storage, uint64_t offset,
			 uint64_t length)
{
	if (storage->ops->punch_hole(storage->private_data, offset, length) ==
	    0) {
		return NT_STATUS_OK;
	}
	if (cannot_punch(errno)) {
		return NT_STATUS_NOT_SUPPORTED;
	}
	return vhdx_errno_status(errno);
}

NTSTATUS vhdx_file_is_zero(struct vhdx_storage *storage, uint8_t *buf,
			   uint64_t offset, uint64_t length, bool *is_zero)
{
	*is_zero = true;
	while (length > 0 && *is_zero) {
		uint64_t run = length;
		bool has_data = vhdx_file_has_data(storage, offset, &run);
		NTSTATUS status;

		if (has_data) {
			run = MIN(run, PIECE);
			status = vhdx_file_read(storage, buf, run, offset);
			if (!NT_STATUS_IS_OK(status)) {
				return status;
			}
			*is_zero = all_zero(buf, run);
		}
		offset += run;
		length -= run;
	}
	return NT_STATUS_OK;
}

NTSTATUS vhdx_file_zero(struct vhdx_storage *storage, uint64_t offset,
			uint64_t length, bool give_back)
{
	NTSTATUS status = NT_STATUS_OK;
	uint8_t *zeros = NULL;

	if (length == 0) {
		return NT_STATUS_OK;
	}
	if (give_back) {
		status = vhdx_file_punch(storage, offset, length);
		if (!NT_STATUS_EQUAL(status, NT_STATUS_NOT_SUPPORTED)) {
			return status;
		}
		status = NT_STATUS_OK;
	}

	zeros = talloc_zero_size(NULL, MIN(length, PIECE));
	if (zeros == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	while (length > 0 && NT_STATUS_IS_OK(status)) {
		size_t piece = MIN(length, PIECE);

		status = vhdx_file_write(storage, zeros, piece, offset);
		offset += piece;
		length -= piece;
	}
	TALLOC_FREE(zeros);
	return status;
}
