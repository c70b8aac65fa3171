/*
 * vfs_rsvd: the engine and the shared state as the disk of scsi_execute()
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/debug.h"
#include "modules/rsvd/rsvd_private.h"

static struct rsvd_open *rsvd_scsi_open(void *private_data)
{
	return talloc_get_type_abort(private_data, struct rsvd_open);
}

static NTSTATUS rsvd_scsi_read(void *private_data, void *buf, size_t length,
			       uint64_t offset)
{
	struct rsvd_open *open = rsvd_scsi_open(private_data);

	/*
	 * smbd asks for no access when it hands an FSCTL on, so this is where
	 * a handle that may not read is stopped. Writes are, too, by
	 * scsi_nexus.may_write.
	 */
	if (!open->may_read) {
		return NT_STATUS_ACCESS_DENIED;
	}

	return vhdx_read(open->image, buf, length, offset);
}

struct rsvd_scsi_exclusive_state {
	struct rsvd_open *open;
	NTSTATUS (*fn)(void *fn_data);
	void *fn_data;
	NTSTATUS status;
};

static void rsvd_scsi_exclusive_locked(struct db_record *rec, TDB_DATA value,
				       void *private_data)
{
	struct rsvd_scsi_exclusive_state *state = private_data;

	state->open->in_exclusive = true;
	state->status = state->fn(state->fn_data);
	state->open->in_exclusive = false;
}

/*
 * Everything that COMPARE AND WRITE and its kin read and write, and every
 * write through the tunnel, happens under one lock per disk. SMB2 WRITE
 * does not take it: its path has no lock by design, and an initiator does
 * not mix the two on one sector.
 */
static NTSTATUS rsvd_scsi_exclusive(void *private_data,
				    NTSTATUS (*fn)(void *fn_data),
				    void *fn_data)
{
	struct rsvd_open *open = rsvd_scsi_open(private_data);
	struct rsvd_scsi_exclusive_state state = {
		.open = open,
		.fn = fn,
		.fn_data = fn_data,
		.status = NT_STATUS_INTERNAL_ERROR,
	};
	uint8_t buf[RSVD_DISK_KEY_SIZE];
	NTSTATUS status;

	if (open->in_exclusive || (open->lock_db == NULL)) {
		return fn(fn_data);
	}

	status = dbwrap_do_locked(open->lock_db,
				  rsvd_disk_key(rsvd_disk_file_id(open->disk),
						'X', buf),
				  rsvd_scsi_exclusive_locked, &state);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	return state.status;
}

struct rsvd_scsi_range {
	struct rsvd_open *open;
	const void *buf;	/* NULL: zeros */
	uint64_t length;
	uint64_t offset;
};

static NTSTATUS rsvd_scsi_write_range(void *fn_data)
{
	const struct rsvd_scsi_range *range = fn_data;

	if (range->buf == NULL) {
		return vhdx_zero(range->open->image, range->offset,
				 range->length);
	}

	return vhdx_write(range->open->image, range->buf, range->length,
			  range->offset);
}

static NTSTATUS rsvd_scsi_write(void *private_data, const void *buf,
				size_t length, uint64_t offset)
{
	struct rsvd_scsi_range range = {
		.open = rsvd_scsi_open(private_data),
		.buf = buf,
		.length = length,
		.offset = offset,
	};

	return rsvd_scsi_exclusive(private_data, rsvd_scsi_write_range,
				   &range);
}

static NTSTATUS rsvd_scsi_zero(void *private_data, uint64_t offset,
			       uint64_t length)
{
	struct rsvd_scsi_range range = {
		.open = rsvd_scsi_open(private_data),
		.length = length,
		.offset = offset,
	};

	return rsvd_scsi_exclusive(private_data, rsvd_scsi_write_range,
				   &range);
}

static NTSTATUS rsvd_scsi_flush(void *private_data)
{
	return vhdx_flush(rsvd_scsi_open(private_data)->image);
}

static NTSTATUS rsvd_scsi_lba_status(void *private_data, uint64_t offset,
				     uint64_t length, uint64_t *run_length,
				     bool *mapped)
{
	struct rsvd_open *open = rsvd_scsi_open(private_data);

	return vhdx_provisioned(open->image, offset, length, run_length,
				mapped);
}

static const struct scsi_state *rsvd_scsi_state(void *private_data)
{
	return rsvd_disk_scsi_state(rsvd_scsi_open(private_data)->disk, NULL);
}

static NTSTATUS rsvd_scsi_update_state(void *private_data, scsi_state_fn fn,
				       void *fn_data)
{
	return rsvd_disk_scsi_update(rsvd_scsi_open(private_data)->disk,
				     fn, fn_data);
}

static NTSTATUS rsvd_scsi_fence(void *private_data,
				const struct GUID *initiators,
				size_t num_initiators)
{
	return rsvd_disk_fence(rsvd_scsi_open(private_data)->disk,
			       initiators, num_initiators);
}

static const struct scsi_disk_ops rsvd_scsi_disk_ops = {
	.read = rsvd_scsi_read,
	.write = rsvd_scsi_write,
	.flush = rsvd_scsi_flush,
	.zero = rsvd_scsi_zero,
	.lba_status = rsvd_scsi_lba_status,
	.exclusive = rsvd_scsi_exclusive,
	.state = rsvd_scsi_state,
	.update_state = rsvd_scsi_update_state,
	.fence = rsvd_scsi_fence,
};

void rsvd_scsi_disk_init(struct rsvd_open *open)
{
	const struct vhdx_geometry *geometry = vhdx_geometry(open->image);

	open->scsi_disk = (struct scsi_disk) {
		.size = geometry->virtual_size,
		.logical_sector_size = geometry->logical_sector_size,
		.physical_sector_size = geometry->physical_sector_size,
		.virtual_disk_id = geometry->virtual_disk_id,
		.thin = !geometry->leave_blocks_allocated,
		.ops = &rsvd_scsi_disk_ops,
		.private_data = open,
	};
	open->nexus = (struct scsi_nexus) {
		.initiator_id = open->context.initiator_id,
		.host_name = open->context.host_name,
		.may_write = open->may_write,
	};
}
