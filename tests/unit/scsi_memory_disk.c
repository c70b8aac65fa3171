/*
 * vfs_rsvd: a SCSI disk in memory, for tests
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/data_blob.h"
#include "librpc/ndr/libndr.h"
#include "librpc/gen_ndr/ndr_scsi_pr.h"
#include "tests/unit/scsi_memory_disk.h"

static void memory_disk_set_mapped(struct scsi_memory_disk *disk,
				   uint64_t offset, uint64_t length,
				   bool mapped)
{
	uint32_t lbs = disk->scsi.logical_sector_size;
	uint64_t lba;

	for (lba = offset / lbs; lba < (offset + length) / lbs; lba++) {
		disk->mapped[lba] = mapped;
	}
}

static NTSTATUS memory_disk_read(void *private_data, void *buf,
				 size_t length, uint64_t offset)
{
	struct scsi_memory_disk *disk = private_data;

	disk->num_reads += 1;
	if (!NT_STATUS_IS_OK(disk->read_status)) {
		return disk->read_status;
	}
	memcpy(buf, disk->data + offset, length);
	return NT_STATUS_OK;
}

static NTSTATUS memory_disk_write(void *private_data, const void *buf,
				  size_t length, uint64_t offset)
{
	struct scsi_memory_disk *disk = private_data;

	disk->num_writes += 1;
	if (!NT_STATUS_IS_OK(disk->write_status)) {
		return disk->write_status;
	}
	memcpy(disk->data + offset, buf, length);
	memory_disk_set_mapped(disk, offset, length, true);
	return NT_STATUS_OK;
}

static NTSTATUS memory_disk_flush(void *private_data)
{
	struct scsi_memory_disk *disk = private_data;

	disk->num_flushes += 1;
	return disk->flush_status;
}

static NTSTATUS memory_disk_zero(void *private_data, uint64_t offset,
				 uint64_t length)
{
	struct scsi_memory_disk *disk = private_data;

	if (!NT_STATUS_IS_OK(disk->write_status)) {
		return disk->write_status;
	}
	memset(disk->data + offset, 0, length);
	memory_disk_set_mapped(disk, offset, length, false);
	return NT_STATUS_OK;
}

static NTSTATUS memory_disk_lba_status(void *private_data, uint64_t offset,
				       uint64_t length, uint64_t *run_length,
				       bool *mapped)
{
	struct scsi_memory_disk *disk = private_data;
	uint32_t lbs = disk->scsi.logical_sector_size;
	uint64_t lba = offset / lbs;
	uint64_t end = (offset + length) / lbs;

	*mapped = disk->mapped[lba];
	while (lba < end && disk->mapped[lba] == *mapped) {
		lba += 1;
	}
	*run_length = lba * lbs - offset;
	return NT_STATUS_OK;
}

static NTSTATUS memory_disk_exclusive(void *private_data,
				      NTSTATUS (*fn)(void *fn_data),
				      void *fn_data)
{
	struct scsi_memory_disk *disk = private_data;
	NTSTATUS status;

	disk->num_exclusive += 1;
	disk->is_exclusive = true;
	status = fn(fn_data);
	disk->is_exclusive = false;
	return status;
}

static const struct scsi_state *memory_disk_state(void *private_data)
{
	struct scsi_memory_disk *disk = private_data;

	return disk->state;
}

/* Through NDR and back, as a change of a stored record goes */
static struct scsi_state *memory_disk_copy_state(
	struct scsi_memory_disk *disk)
{
	struct scsi_state *copy = talloc_zero(disk, struct scsi_state);
	enum ndr_err_code ndr_err;
	DATA_BLOB blob;

	if (copy == NULL) {
		return NULL;
	}
	ndr_err = ndr_push_struct_blob(
		&blob, copy, disk->state,
		(ndr_push_flags_fn_t)ndr_push_scsi_state);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		abort();
	}
	ndr_err = ndr_pull_struct_blob_all(
		&blob, copy, copy,
		(ndr_pull_flags_fn_t)ndr_pull_scsi_state);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		abort();
	}
	return copy;
}

static NTSTATUS memory_disk_update_state(void *private_data,
					 scsi_state_fn fn, void *fn_data)
{
	struct scsi_memory_disk *disk = private_data;
	struct scsi_state *state = NULL;
	bool changed = false;
	NTSTATUS status;

	if (!NT_STATUS_IS_OK(disk->state_status)) {
		return disk->state_status;
	}
	state = memory_disk_copy_state(disk);
	if (state == NULL) {
		return NT_STATUS_NO_MEMORY;
	}

	status = fn(state, &changed, fn_data);
	if (!NT_STATUS_IS_OK(status) || !changed) {
		TALLOC_FREE(state);
		return status;
	}
	TALLOC_FREE(disk->state);
	disk->state = state;
	disk->num_state_changes += 1;
	return NT_STATUS_OK;
}

static NTSTATUS memory_disk_fence(void *private_data,
				  const struct GUID *initiators,
				  size_t num_initiators)
{
	struct scsi_memory_disk *disk = private_data;

	memcpy(disk->fenced, initiators,
	       num_initiators * sizeof(struct GUID));
	disk->num_fenced = num_initiators;
	return disk->fence_status;
}

static const struct scsi_disk_ops memory_disk_ops = {
	.read = memory_disk_read,
	.write = memory_disk_write,
	.flush = memory_disk_flush,
	.zero = memory_disk_zero,
	.lba_status = memory_disk_lba_status,
	.exclusive = memory_disk_exclusive,
	.state = memory_disk_state,
	.update_state = memory_disk_update_state,
	.fence = memory_disk_fence,
};

struct scsi_memory_disk *scsi_memory_disk_init(TALLOC_CTX *mem_ctx,
					       uint64_t num_blocks,
					       uint32_t logical_sector_size,
					       bool thin)
{
	struct scsi_memory_disk *disk =
		talloc_zero(mem_ctx, struct scsi_memory_disk);

	if (disk == NULL) {
		return NULL;
	}
	disk->scsi = (struct scsi_disk) {
		.size = num_blocks * logical_sector_size,
		.logical_sector_size = logical_sector_size,
		.physical_sector_size = MAX(logical_sector_size, 4096),
		.virtual_disk_id = {
			.time_low = 0x01020304,
			.time_mid = 0x0506,
			.time_hi_and_version = 0x4708,
			.clock_seq = { 0x89, 0x0a },
			.node = { 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10 },
		},
		.thin = thin,
		.ops = &memory_disk_ops,
		.private_data = disk,
	};
	disk->data = talloc_zero_size(disk, disk->scsi.size);
	disk->mapped = talloc_zero_array(disk, bool, num_blocks);
	disk->state = scsi_state_init(disk);
	if (disk->data == NULL || disk->mapped == NULL ||
	    disk->state == NULL) {
		TALLOC_FREE(disk);
	}
	return disk;
}

void scsi_memory_disk_open(struct scsi_memory_disk *disk,
			   const struct scsi_nexus *nexus)
{
	NTSTATUS status = scsi_state_nexus_add(
		disk->state, &nexus->initiator_id, nexus->host_name);

	if (!NT_STATUS_IS_OK(status)) {
		abort();
	}
}

void scsi_memory_disk_close(struct scsi_memory_disk *disk,
			    const struct scsi_nexus *nexus)
{
	scsi_state_nexus_remove(disk->state, &nexus->initiator_id);
}
