/*
 * vfs_rsvd: ranges of blocks
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _SCSI_BLOCK_H_
#define _SCSI_BLOCK_H_

#include "modules/scsi/scsi_private.h"

/* Blocks of a CDB; offset and length are bytes. */
struct scsi_range {
	uint64_t lba;
	uint32_t num_blocks;
	uint64_t offset;
	uint64_t length;
};

/*
 * Each of these that is a bool returns false when it has ended the command
 * with an error.
 */

/* LBA OUT OF RANGE, or more than max_length bytes at once */
bool scsi_block_range(struct scsi_request *req, uint64_t max_length,
		      struct scsi_range *range);
bool scsi_block_on_disk(struct scsi_request *req, uint64_t lba,
			uint64_t num_blocks);
bool scsi_block_data_out(struct scsi_request *req, uint64_t length);
bool scsi_block_read(struct scsi_request *req, void *buf, size_t length,
		     uint64_t offset);
bool scsi_block_write(struct scsi_request *req, const void *buf,
		      size_t length, uint64_t offset);
/* The same in a status, which scsi_io_error() can report */
NTSTATUS scsi_block_write_piece(struct scsi_request *req, const void *buf,
				size_t length, uint64_t offset);
NTSTATUS scsi_block_zero_piece(struct scsi_request *req, uint64_t offset,
			       uint64_t length);
bool scsi_block_flush(struct scsi_request *req);
bool scsi_block_flush_written(struct scsi_request *req);

#endif /* _SCSI_BLOCK_H_ */
