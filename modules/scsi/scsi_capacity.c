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

/* A run of logical blocks, all mapped or none */
struct scsi_lba_run {
	uint64_t lba;
	uint32_t num_blocks;
	bool mapped;
};

static NTSTATUS scsi_lba_run_find(const struct scsi_disk *disk, uint64_t lba,
				  struct scsi_lba_run *run)
{
	uint32_t lbs = disk->logical_sector_size;
	uint64_t offset = lba * lbs;
	/* What a descriptor can tell of */
	uint64_t length = MIN(disk->size - offset,
			      (uint64_t)(UINT32_MAX & ~0xffU) * lbs);
	uint64_t run_length = length;

	*run = (struct scsi_lba_run) { .lba = lba, .mapped = true };
	if (disk->thin && disk->ops->lba_status != NULL) {
		NTSTATUS status = disk->ops->lba_status(disk->private_data,
							offset, length,
							&run_length,
							&run->mapped);

		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	run->num_blocks = MIN(run_length, length) / lbs;
	if (run->num_blocks == 0) {
		/* Whole blocks, and always onwards */
		run->num_blocks = 1;
		run->mapped = true;
	}
	return NT_STATUS_OK;
}

static void scsi_lba_run_put(struct scsi_data_in *in,
			     const struct scsi_lba_run *run)
{
	scsi_data_in_put_be64(in, run->lba);
	scsi_data_in_put_be32(in, run->num_blocks);
	scsi_data_in_put_u8(in, run->mapped ? 0x00 : 0x01);
	scsi_data_in_put_zeros(in, 3);
}

/* SBC-3, GET LBA STATUS */
void scsi_get_lba_status(struct scsi_request *req)
{
	const struct scsi_disk *disk = req->disk;
	const uint8_t *cdb = req->task->cdb;
	uint64_t num_blocks = scsi_num_blocks(disk);
	uint64_t lba = scsi_get_be64(cdb + 2);
	struct scsi_lba_run whole = { .num_blocks = 0 };
	struct scsi_data_in in;
	/* Enough for most, and a bounded time for all */
	uint32_t num_lookups = 256;

	if (lba >= num_blocks) {
		scsi_check_condition(req, SCSI_SENSE_ILLEGAL_REQUEST,
				     SCSI_ASC_LBA_OUT_OF_RANGE);
		return;
	}

	scsi_data_in_start(req, &in, scsi_get_be32(cdb + 10));
	scsi_data_in_put_zeros(&in, 8);

	/* Even a truncated answer has one descriptor to tell of. */
	while (lba < num_blocks && num_lookups > 0 &&
	       (in.length < in.room || in.length == 8)) {
		struct scsi_lba_run run;
		NTSTATUS status = scsi_lba_run_find(disk, lba, &run);

		if (!NT_STATUS_IS_OK(status)) {
			scsi_io_error(req, status, false);
			return;
		}
		lba += run.num_blocks;
		num_lookups -= 1;

		if (whole.num_blocks != 0 && whole.mapped == run.mapped &&
		    whole.num_blocks <= UINT32_MAX - run.num_blocks) {
			whole.num_blocks += run.num_blocks;
			continue;
		}
		if (whole.num_blocks != 0) {
			scsi_lba_run_put(&in, &whole);
		}
		whole = run;
	}
	if (in.length < in.room || in.length == 8) {
		scsi_lba_run_put(&in, &whole);
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
