/*
 * vfs_rsvd: commands that move, check or flush a range of blocks
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_block.h"

/*
 * The LBA and the length stand where the group code, the upper three bits of
 * the opcode, has them: SPC-4, the common CDB formats.
 */
static void scsi_block_parse(const uint8_t *cdb, uint64_t *lba,
			     uint32_t *num_blocks)
{
	switch (cdb[0] >> 5) {
	case 0:
		*lba = scsi_get_be24(cdb + 1) & 0x1fffff;
		/* In READ(6) and WRITE(6) zero is 256. */
		*num_blocks = cdb[4] == 0 ? 256 : cdb[4];
		return;
	case 1:
	case 2:
		*lba = scsi_get_be32(cdb + 2);
		*num_blocks = scsi_get_be16(cdb + 7);
		return;
	case 5:
		*lba = scsi_get_be32(cdb + 2);
		*num_blocks = scsi_get_be32(cdb + 6);
		return;
	default:
		*lba = scsi_get_be64(cdb + 2);
		*num_blocks = scsi_get_be32(cdb + 10);
		return;
	}
}

/* Where the length stands in the CDB, for the field pointer */
static uint8_t scsi_block_length_byte(const uint8_t *cdb)
{
	switch (cdb[0] >> 5) {
	case 0:
		return 4;
	case 1:
	case 2:
		return 7;
	case 5:
		return 6;
	default:
		return 10;
	}
}

bool scsi_block_on_disk(struct scsi_request *req, uint64_t lba,
			uint64_t num_blocks)
{
	uint64_t disk_blocks = scsi_num_blocks(req->disk);

	if (lba > disk_blocks || num_blocks > disk_blocks - lba) {
		scsi_check_condition(req, SCSI_SENSE_ILLEGAL_REQUEST,
				     SCSI_ASC_LBA_OUT_OF_RANGE);
		return false;
	}
	return true;
}

bool scsi_block_range(struct scsi_request *req, uint64_t max_length,
		      struct scsi_range *range)
{
	const uint8_t *cdb = req->task->cdb;
	uint32_t lbs = req->disk->logical_sector_size;
	uint64_t lba;
	uint32_t num_blocks;

	scsi_block_parse(cdb, &lba, &num_blocks);
	if (!scsi_block_on_disk(req, lba, num_blocks)) {
		return false;
	}
	if (num_blocks > max_length / lbs) {
		scsi_invalid_field_in_cdb(req, scsi_block_length_byte(cdb),
					  -1);
		return false;
	}

	*range = (struct scsi_range) {
		.lba = lba,
		.num_blocks = num_blocks,
		.offset = lba * lbs,
		.length = (uint64_t)num_blocks * lbs,
	};
	return true;
}

/*
 * Data that the CDB announces and that did not come is a mistake of the
 * initiator we cannot repair, and nothing may be written for it.
 */
bool scsi_block_data_out(struct scsi_request *req, uint64_t length)
{
	if (req->task->data_out_length >= length) {
		return true;
	}
	scsi_invalid_field_in_cdb(req, scsi_block_length_byte(req->task->cdb),
				  -1);
	return false;
}

bool scsi_block_flush(struct scsi_request *req)
{
	NTSTATUS status = req->disk->ops->flush(req->disk->private_data);

	if (!NT_STATUS_IS_OK(status)) {
		scsi_io_error(req, status, true);
		return false;
	}
	return true;
}

/*
 * FUA, or FUA_NV, which is as much: there is no non-volatile cache. Other
 * commands use these bits for something else.
 */
static bool scsi_block_fua(const struct scsi_request *req)
{
	return req->command->usage[1] == SCSI_CDB_DPO_FUA &&
		(req->task->cdb[1] & SCSI_CDB_FUA);
}

/* After a write: FUA, or a write cache that MODE SELECT has switched off */
bool scsi_block_flush_written(struct scsi_request *req)
{
	if (!scsi_block_fua(req) && (req->mode & SCSI_MODE_WCE)) {
		return true;
	}
	return scsi_block_flush(req);
}

/*
 * A command that writes in pieces can be overtaken by a reservation: another
 * process preempts its initiator. It ends at the next piece then. Who
 * preempted waits for that, scsi_pr_fence_preempted(), and not for ever.
 */
static NTSTATUS scsi_block_check_overtaken(struct scsi_request *req)
{
	const struct scsi_state *state = scsi_disk_state(req->disk);

	if (state == NULL) {
		return NT_STATUS_INTERNAL_DB_ERROR;
	}
	if (scsi_conflicts(state, &req->nexus->initiator_id,
			   SCSI_CONFLICT_WRITE)) {
		return NT_STATUS_REQUEST_ABORTED;
	}
	return NT_STATUS_OK;
}

NTSTATUS scsi_block_write_piece(struct scsi_request *req, const void *buf,
				size_t length, uint64_t offset)
{
	struct scsi_disk *disk = req->disk;
	NTSTATUS status = scsi_block_check_overtaken(req);

	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return disk->ops->write(disk->private_data, buf, length, offset);
}

NTSTATUS scsi_block_zero_piece(struct scsi_request *req, uint64_t offset,
			       uint64_t length)
{
	struct scsi_disk *disk = req->disk;
	NTSTATUS status = scsi_block_check_overtaken(req);

	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return disk->ops->zero(disk->private_data, offset, length);
}

bool scsi_block_write(struct scsi_request *req, const void *buf,
		      size_t length, uint64_t offset)
{
	NTSTATUS status;

	if (length == 0) {
		return true;
	}
	status = scsi_block_write_piece(req, buf, length, offset);
	if (!NT_STATUS_IS_OK(status)) {
		scsi_io_error(req, status, true);
		return false;
	}
	return true;
}

/*
 * Of a range that could not be read, the first block that cannot: the
 * initiator is to know which one is bad (SBC-3, INFORMATION of a MEDIUM
 * ERROR), and that those before it are not. buf is overwritten.
 */
static void scsi_block_read_error(struct scsi_request *req, void *buf,
				  size_t length, uint64_t offset,
				  NTSTATUS error)
{
	struct scsi_disk *disk = req->disk;
	uint32_t lbs = disk->logical_sector_size;
	size_t done;

	for (done = 0; done < length; done += lbs) {
		NTSTATUS status = disk->ops->read(disk->private_data, buf,
						  MIN(lbs, length - done),
						  offset + done);

		if (!NT_STATUS_IS_OK(status)) {
			scsi_read_error(req, status, (offset + done) / lbs);
			return;
		}
	}
	/* It has gone as it came. */
	scsi_io_error(req, error, false);
}

bool scsi_block_read(struct scsi_request *req, void *buf, size_t length,
		     uint64_t offset)
{
	struct scsi_disk *disk = req->disk;
	NTSTATUS status;

	if (length == 0) {
		return true;
	}
	status = disk->ops->read(disk->private_data, buf, length, offset);
	if (!NT_STATUS_IS_OK(status)) {
		scsi_block_read_error(req, buf, length, offset, status);
		return false;
	}
	return true;
}

/* SBC-3, READ (6), (10), (12), (16) */
void scsi_read(struct scsi_request *req)
{
	struct scsi_task *task = req->task;
	struct scsi_range range;
	uint32_t length;

	if (!scsi_block_range(req, SCSI_MAX_TRANSFER_LENGTH, &range)) {
		return;
	}
	/* The medium is to hold what is read: write out what is newer. */
	if (scsi_block_fua(req) && !scsi_block_flush(req)) {
		return;
	}

	/* The transport has the last word on how much it carries. */
	length = MIN(range.length, task->data_in_size);
	if (scsi_block_read(req, task->data_in, length, range.offset)) {
		task->data_in_length = length;
		task->data_in_overrun = length < range.length;
	}
}

/* SBC-3, WRITE (6), (10), (12), (16) */
void scsi_write(struct scsi_request *req)
{
	struct scsi_range range;

	if (!scsi_block_range(req, SCSI_MAX_TRANSFER_LENGTH, &range) ||
	    !scsi_block_data_out(req, range.length)) {
		return;
	}
	if (!scsi_block_write(req, req->task->data_out, range.length,
			      range.offset)) {
		return;
	}
	scsi_block_flush_written(req);
}

/*
 * Compare the medium with data; step zero compares each block with the same
 * one. Without data, reading it without error is all.
 */
static bool scsi_block_compare(struct scsi_request *req,
			       const struct scsi_range *range,
			       const uint8_t *data, bool same_block)
{
	uint32_t lbs = req->disk->logical_sector_size;
	uint8_t buf[SCSI_CHUNK_SIZE];
	uint64_t done = 0;

	while (done < range->length) {
		size_t chunk = MIN(range->length - done, sizeof(buf));
		size_t i;

		if (!scsi_block_read(req, buf, chunk, range->offset + done)) {
			return false;
		}
		for (i = 0; data != NULL && i < chunk; i += lbs) {
			const uint8_t *expected =
				same_block ? data : data + done + i;

			if (memcmp(buf + i, expected, lbs) != 0) {
				scsi_check_condition(
					req, SCSI_SENSE_MISCOMPARE,
					SCSI_ASC_MISCOMPARE_DURING_VERIFY);
				return false;
			}
		}
		done += chunk;
	}
	return true;
}

/* The BYTCHK field of VERIFY and WRITE AND VERIFY */
#define SCSI_BYTCHK(cdb) (((cdb)[1] >> 1) & 0x03)

/* SBC-3, VERIFY (10), (12), (16) */
void scsi_verify(struct scsi_request *req)
{
	const struct scsi_task *task = req->task;
	uint32_t lbs = req->disk->logical_sector_size;
	const uint8_t *data = NULL;
	struct scsi_range range;
	uint8_t bytchk = SCSI_BYTCHK(task->cdb);
	/* With BYTCHK 0 and 3 the length is not one of a transfer. */
	uint64_t max_length = bytchk == 1 ? SCSI_MAX_TRANSFER_LENGTH :
		(uint64_t)SCSI_MAX_WRITE_SAME_BLOCKS * lbs;

	if (bytchk == 2) {
		scsi_invalid_field_in_cdb(req, 1, 2);
		return;
	}
	if (!scsi_block_range(req, max_length, &range)) {
		return;
	}
	if (range.length == 0) {
		return;
	}
	if (bytchk != 0) {
		if (!scsi_block_data_out(req, bytchk == 3 ? lbs :
					 range.length)) {
			return;
		}
		data = task->data_out;
	}
	scsi_block_compare(req, &range, data, bytchk == 3);
}

/* SBC-3, WRITE AND VERIFY (10), (12), (16) */
void scsi_write_and_verify(struct scsi_request *req)
{
	const struct scsi_task *task = req->task;
	struct scsi_range range;
	uint8_t bytchk = SCSI_BYTCHK(task->cdb);

	if (bytchk > 1) {
		scsi_invalid_field_in_cdb(req, 1, 2);
		return;
	}
	if (!scsi_block_range(req, SCSI_MAX_TRANSFER_LENGTH, &range) ||
	    !scsi_block_data_out(req, range.length)) {
		return;
	}
	if (!scsi_block_write(req, task->data_out, range.length,
			      range.offset) ||
	    !scsi_block_flush(req)) {
		return;
	}
	scsi_block_compare(req, &range, bytchk == 1 ? task->data_out : NULL,
			   false);
}

/*
 * SBC-3, PRE-FETCH. The cache is the server's page cache, whose readahead
 * knows better; the command succeeds without promising that all is there.
 */
void scsi_prefetch(struct scsi_request *req)
{
	uint64_t lba;
	uint32_t num_blocks;

	scsi_block_parse(req->task->cdb, &lba, &num_blocks);
	scsi_block_on_disk(req, lba, num_blocks);
}

/*
 * SBC-3, SYNCHRONIZE CACHE. A file is flushed as a whole. With IMMED status
 * may come before the flush has ended, and need not.
 */
void scsi_synchronize_cache(struct scsi_request *req)
{
	uint64_t lba;
	uint32_t num_blocks;

	scsi_block_parse(req->task->cdb, &lba, &num_blocks);
	if (!scsi_block_on_disk(req, lba, num_blocks)) {
		return;
	}
	scsi_block_flush(req);
}
