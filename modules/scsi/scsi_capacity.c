/*
 * vfs_rsvd: how large the disk is, and what of it is there
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_private.h"

uint64_t scsi_num_blocks(const struct scsi_disk *disk)
{
	return disk->size / disk->logical_sector_size;
}

/* LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT */
uint8_t scsi_physical_block_exponent(const struct scsi_disk *disk)
{
	uint32_t size = disk->logical_sector_size;
	uint8_t exponent = 0;

	while (size < disk->physical_sector_size) {
		size *= 2;
		exponent += 1;
	}
	return exponent;
}

/* SBC-3, READ CAPACITY(10) */
void scsi_read_capacity_10(struct scsi_request *req)
{
	const struct scsi_disk *disk = req->disk;
	uint8_t buf[8];

	/* A last LBA of all ones tells to use READ CAPACITY(16). */
	scsi_put_be32(buf, MIN(scsi_num_blocks(disk) - 1, UINT32_MAX));
	scsi_put_be32(buf + 4, disk->logical_sector_size);
	scsi_data_in_copy(req, buf, sizeof(buf), sizeof(buf));
}

/* SBC-3, READ CAPACITY(16) */
void scsi_read_capacity_16(struct scsi_request *req)
{
	const struct scsi_disk *disk = req->disk;
	uint8_t buf[32] = {0};

	scsi_put_be64(buf, scsi_num_blocks(disk) - 1);
	scsi_put_be32(buf + 8, disk->logical_sector_size);
	buf[13] = scsi_physical_block_exponent(disk);
	if (disk->thin) {
		buf[14] = 0xc0;	/* LBPME, LBPRZ */
	}
	scsi_data_in_copy(req, buf, sizeof(buf),
			  scsi_get_be32(req->task->cdb + 10));
}

/* SBC-3, GET LBA STATUS */
void scsi_get_lba_status(struct scsi_request *req)
{
	const struct scsi_disk *disk = req->disk;
	const uint8_t *cdb = req->task->cdb;
	uint64_t lba = scsi_get_be64(cdb + 2);
	uint32_t lbs = disk->logical_sector_size;
	uint64_t offset;
	struct scsi_data_in in;
	/* Enough for most, and a bounded time for all */
	uint32_t num_descriptors = 256;

	if (lba >= scsi_num_blocks(disk)) {
		scsi_check_condition(req, SCSI_SENSE_ILLEGAL_REQUEST,
				     SCSI_ASC_LBA_OUT_OF_RANGE);
		return;
	}
	offset = lba * lbs;

	scsi_data_in_start(req, &in, scsi_get_be32(cdb + 10));
	scsi_data_in_put_zeros(&in, 8);

	while (offset < disk->size && num_descriptors > 0) {
		/* Even a truncated answer has one descriptor to tell of. */
		uint64_t length = MIN(disk->size - offset,
				      (uint64_t)(UINT32_MAX & ~0xffU) * lbs);
		uint64_t run_length = length;
		bool mapped = true;

		if (disk->thin && disk->ops->lba_status != NULL) {
			NTSTATUS status = disk->ops->lba_status(
				disk->private_data, offset, length,
				&run_length, &mapped);

			if (!NT_STATUS_IS_OK(status)) {
				scsi_io_error(req, status, false);
				return;
			}
		}
		/* Whole blocks, and always onwards */
		run_length = MIN(run_length, length);
		run_length -= run_length % lbs;
		if (run_length == 0) {
			run_length = lbs;
			mapped = true;
		}

		scsi_data_in_put_be64(&in, offset / lbs);
		scsi_data_in_put_be32(&in, run_length / lbs);
		scsi_data_in_put_u8(&in, mapped ? 0x00 : 0x01);
		scsi_data_in_put_zeros(&in, 3);

		offset += run_length;
		num_descriptors -= 1;
		if (in.length >= in.room) {
			break;
		}
	}

	scsi_data_in_patch_be32(&in, 0, in.length - 4);
	scsi_data_in_end(req, &in);
}

/* SBC-3, READ DEFECT DATA: none. The header repeats what was asked for. */
void scsi_read_defect_data_10(struct scsi_request *req)
{
	const uint8_t *cdb = req->task->cdb;
	uint8_t buf[4] = { 0, cdb[2] & 0x1f };

	scsi_data_in_copy(req, buf, sizeof(buf), scsi_get_be16(cdb + 7));
}

void scsi_read_defect_data_12(struct scsi_request *req)
{
	const uint8_t *cdb = req->task->cdb;
	uint8_t buf[8] = { 0, cdb[1] & 0x1f };

	scsi_data_in_copy(req, buf, sizeof(buf), scsi_get_be32(cdb + 6));
}
