/*
 * vfs_rsvd: commands that nobody else's write may come into: COMPARE AND
 * WRITE, ORWRITE, WRITE ATOMIC
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_block.h"

struct scsi_atomic {
	struct scsi_request *req;
	struct scsi_range range;
	const uint8_t *data;
};

/*
 * The functions under the lock end the command themselves; what they return
 * only tells ops->exclusive() apart from them.
 */
static void scsi_atomic_run(struct scsi_atomic *atomic,
			    NTSTATUS (*fn)(void *fn_data))
{
	struct scsi_request *req = atomic->req;
	const struct scsi_disk *disk = req->disk;
	NTSTATUS status;

	atomic->data = req->task->data_out;
	status = disk->ops->exclusive(disk->private_data, fn, atomic);
	if (req->task->status != SCSI_STATUS_GOOD) {
		return;
	}
	if (!NT_STATUS_IS_OK(status)) {
		scsi_io_error(req, status, true);
		return;
	}
	scsi_block_flush_written(req);
}

/*
 * The most that WRITE ATOMIC takes. It is atomic towards the other
 * initiators, not towards a power cut: the file system below does not tell
 * what it can promise there.
 */
uint32_t scsi_max_atomic_blocks(const struct scsi_disk *disk)
{
	return SCSI_MAX_TRANSFER_LENGTH / disk->logical_sector_size;
}

static NTSTATUS scsi_compare_and_write_fn(void *fn_data)
{
	struct scsi_atomic *atomic = fn_data;
	struct scsi_request *req = atomic->req;
	const struct scsi_range *range = &atomic->range;
	uint8_t buf[SCSI_CHUNK_SIZE];
	uint64_t done = 0;

	while (done < range->length) {
		const uint8_t *expected = atomic->data + done;
		size_t chunk = MIN(range->length - done, sizeof(buf));
		size_t i = 0;

		if (!scsi_block_read(req, buf, chunk, range->offset + done)) {
			return NT_STATUS_UNSUCCESSFUL;
		}
		if (memcmp(buf, expected, chunk) == 0) {
			done += chunk;
			continue;
		}

		/* INFORMATION: where in the data the first difference is */
		while (buf[i] == expected[i]) {
			i++;
		}
		scsi_check_condition_info(req, SCSI_SENSE_MISCOMPARE,
					  SCSI_ASC_MISCOMPARE_DURING_VERIFY,
					  done + i);
		return NT_STATUS_UNSUCCESSFUL;
	}

	if (!scsi_block_write(req, atomic->data + range->length,
			      range->length, range->offset)) {
		return NT_STATUS_UNSUCCESSFUL;
	}
	return NT_STATUS_OK;
}

/* SBC-3, COMPARE AND WRITE */
void scsi_compare_and_write(struct scsi_request *req)
{
	const struct scsi_task *task = req->task;
	struct scsi_atomic atomic = { .req = req };
	uint32_t lbs = req->disk->logical_sector_size;
	uint64_t lba = scsi_get_be64(task->cdb + 2);
	uint8_t num_blocks = task->cdb[13];

	if (!scsi_block_on_disk(req, lba, num_blocks)) {
		return;
	}
	if (num_blocks > SCSI_MAX_TRANSFER_LENGTH / lbs / 2) {
		scsi_invalid_field_in_cdb(req, 13, -1);
		return;
	}
	atomic.range = (struct scsi_range) {
		.lba = lba,
		.num_blocks = num_blocks,
		.offset = lba * lbs,
		.length = (uint64_t)num_blocks * lbs,
	};
	if (task->data_out_length != 2 * atomic.range.length) {
		/* Else it would be unclear where the second half begins. */
		scsi_invalid_field_in_cdb(req, 13, -1);
		return;
	}
	if (num_blocks == 0) {
		return;
	}
	scsi_atomic_run(&atomic, scsi_compare_and_write_fn);
}

static NTSTATUS scsi_orwrite_fn(void *fn_data)
{
	struct scsi_atomic *atomic = fn_data;
	struct scsi_request *req = atomic->req;
	const struct scsi_range *range = &atomic->range;
	uint8_t buf[SCSI_CHUNK_SIZE];
	uint64_t done = 0;

	while (done < range->length) {
		size_t chunk = MIN(range->length - done, sizeof(buf));
		size_t i;

		if (!scsi_block_read(req, buf, chunk, range->offset + done)) {
			return NT_STATUS_UNSUCCESSFUL;
		}
		for (i = 0; i < chunk; i++) {
			buf[i] |= atomic->data[done + i];
		}
		if (!scsi_block_write(req, buf, chunk,
				      range->offset + done)) {
			return NT_STATUS_UNSUCCESSFUL;
		}
		done += chunk;
	}
	return NT_STATUS_OK;
}

/* SBC-3, ORWRITE(16) */
void scsi_orwrite(struct scsi_request *req)
{
	struct scsi_atomic atomic = { .req = req };

	if (!scsi_block_range(req, SCSI_MAX_TRANSFER_LENGTH,
			      &atomic.range) ||
	    !scsi_block_data_out(req, atomic.range.length)) {
		return;
	}
	scsi_atomic_run(&atomic, scsi_orwrite_fn);
}

static NTSTATUS scsi_write_atomic_fn(void *fn_data)
{
	struct scsi_atomic *atomic = fn_data;
	const struct scsi_range *range = &atomic->range;

	if (!scsi_block_write(atomic->req, atomic->data, range->length,
			      range->offset)) {
		return NT_STATUS_UNSUCCESSFUL;
	}
	return NT_STATUS_OK;
}

/* SBC-4, WRITE ATOMIC(16) */
void scsi_write_atomic(struct scsi_request *req)
{
	const struct scsi_task *task = req->task;
	struct scsi_atomic atomic = { .req = req };
	uint32_t lbs = req->disk->logical_sector_size;
	uint64_t lba = scsi_get_be64(task->cdb + 2);
	uint16_t boundary = scsi_get_be16(task->cdb + 10);
	uint16_t num_blocks = scsi_get_be16(task->cdb + 12);

	if (!scsi_block_on_disk(req, lba, num_blocks)) {
		return;
	}
	if (boundary != 0) {
		/* MAXIMUM ATOMIC BOUNDARY SIZE is zero. */
		scsi_invalid_field_in_cdb(req, 10, -1);
		return;
	}
	if (num_blocks > scsi_max_atomic_blocks(req->disk)) {
		scsi_invalid_field_in_cdb(req, 12, -1);
		return;
	}
	atomic.range = (struct scsi_range) {
		.lba = lba,
		.num_blocks = num_blocks,
		.offset = lba * lbs,
		.length = (uint64_t)num_blocks * lbs,
	};
	if (task->data_out_length < atomic.range.length) {
		scsi_invalid_field_in_cdb(req, 12, -1);
		return;
	}
	scsi_atomic_run(&atomic, scsi_write_atomic_fn);
}
