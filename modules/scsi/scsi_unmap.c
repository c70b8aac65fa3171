/*
 * vfs_rsvd: UNMAP and WRITE SAME
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_block.h"

#define SCSI_UNMAP_HEADER_LENGTH 8
#define SCSI_UNMAP_DESCRIPTOR_LENGTH 16

#define SCSI_WRITE_SAME_UNMAP 0x08
#define SCSI_WRITE_SAME_NDOB 0x01

static bool scsi_block_zero(struct scsi_request *req, uint64_t offset,
			    uint64_t length)
{
	NTSTATUS status;

	if (length == 0) {
		return true;
	}
	status = scsi_block_zero_piece(req, offset, length);
	if (!NT_STATUS_IS_OK(status)) {
		scsi_io_error(req, status, true);
		return false;
	}
	return true;
}

/*
 * SBC-3, UNMAP. LBPRZ is one: what is unmapped reads as zeros, and blocks that
 * cannot be given back, because they share a payload block with others,
 * become zeros.
 */
void scsi_unmap(struct scsi_request *req)
{
	const struct scsi_task *task = req->task;
	const uint8_t *list = task->data_out;
	uint32_t lbs = req->disk->logical_sector_size;
	uint16_t list_length = scsi_get_be16(task->cdb + 7);
	uint16_t descriptors_length;
	uint16_t i, num_descriptors;
	uint64_t total = 0;

	if (list_length == 0) {
		return;
	}
	if (list_length < SCSI_UNMAP_HEADER_LENGTH ||
	    task->data_out_length < list_length) {
		scsi_parameter_list_length_error(req);
		return;
	}

	descriptors_length = scsi_get_be16(list + 2);
	if (descriptors_length > list_length - SCSI_UNMAP_HEADER_LENGTH) {
		scsi_parameter_list_length_error(req);
		return;
	}
	/* A fraction of a descriptor at the end is to be ignored. */
	num_descriptors = descriptors_length / SCSI_UNMAP_DESCRIPTOR_LENGTH;
	if (num_descriptors > SCSI_MAX_UNMAP_DESCRIPTORS) {
		scsi_invalid_field_in_parameters(req, 2, -1);
		return;
	}

	/* All or nothing: look at all before the first is done. */
	list += SCSI_UNMAP_HEADER_LENGTH;
	for (i = 0; i < num_descriptors; i++) {
		const uint8_t *d = list + i * SCSI_UNMAP_DESCRIPTOR_LENGTH;
		uint32_t num_blocks = scsi_get_be32(d + 8);

		if (!scsi_block_on_disk(req, scsi_get_be64(d), num_blocks)) {
			return;
		}
		total += num_blocks;
		if (total > SCSI_MAX_UNMAP_BLOCKS) {
			scsi_invalid_field_in_parameters(
				req, SCSI_UNMAP_HEADER_LENGTH +
				i * SCSI_UNMAP_DESCRIPTOR_LENGTH + 8, -1);
			return;
		}
	}

	for (i = 0; i < num_descriptors; i++) {
		const uint8_t *d = list + i * SCSI_UNMAP_DESCRIPTOR_LENGTH;

		if (!scsi_block_zero(req, scsi_get_be64(d) * lbs,
				     (uint64_t)scsi_get_be32(d + 8) * lbs)) {
			return;
		}
	}
	scsi_block_flush_written(req);
}

static bool scsi_buffer_is_zero(const uint8_t *buf, size_t length)
{
	return buf[0] == 0 && memcmp(buf, buf + 1, length - 1) == 0;
}

static bool scsi_write_same_pattern(struct scsi_request *req,
				    const struct scsi_range *range)
{
	uint32_t lbs = req->disk->logical_sector_size;
	uint8_t buf[SCSI_CHUNK_SIZE];
	uint64_t done;
	size_t i;

	for (i = 0; i < sizeof(buf); i += lbs) {
		memcpy(buf + i, req->task->data_out, lbs);
	}
	for (done = 0; done < range->length; done += sizeof(buf)) {
		if (!scsi_block_write(req, buf,
				      MIN(range->length - done, sizeof(buf)),
				      range->offset + done)) {
			return false;
		}
	}
	return true;
}

/*
 * SBC-3, WRITE SAME. UNMAP is for WRITE SAME(16) only, LBPWS10 is zero: no
 * initiator prefers the short command when it has the long one.
 */
void scsi_write_same(struct scsi_request *req)
{
	const struct scsi_task *task = req->task;
	const struct scsi_disk *disk = req->disk;
	uint32_t lbs = disk->logical_sector_size;
	bool is_16 = task->cdb[0] == 0x93;
	bool no_data = is_16 && (task->cdb[1] & SCSI_WRITE_SAME_NDOB);
	uint64_t max_length = (uint64_t)SCSI_MAX_WRITE_SAME_BLOCKS * lbs;
	struct scsi_range range;

	if ((task->cdb[1] & SCSI_WRITE_SAME_UNMAP) && !disk->thin) {
		scsi_invalid_field_in_cdb(req, 1, 3);
		return;
	}
	if (!scsi_block_range(req, max_length, &range)) {
		return;
	}
	if (range.num_blocks == 0) {
		/* To the end of the medium: WSNZ is zero. */
		range.length = disk->size - range.offset;
	}
	if (range.length > max_length) {
		scsi_invalid_field_in_cdb(req, is_16 ? 10 : 7, -1);
		return;
	}
	if (task->data_out_length != (no_data ? 0 : lbs)) {
		scsi_invalid_field_in_cdb(req, 1, no_data ? 0 : -1);
		return;
	}

	/*
	 * With or without UNMAP: zeros may be kept as unmapped blocks
	 * (SBC-3, autonomous LBA transitions), and with UNMAP anything else
	 * must be written, because LBPRZ is one.
	 */
	if (no_data || scsi_buffer_is_zero(task->data_out, lbs)) {
		if (!scsi_block_zero(req, range.offset, range.length)) {
			return;
		}
	} else if (!scsi_write_same_pattern(req, &range)) {
		return;
	}
	scsi_block_flush_written(req);
}
