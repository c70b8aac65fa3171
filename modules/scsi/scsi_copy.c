/*
 * vfs_rsvd: EXTENDED COPY (LID1) within the disk, RECEIVE COPY RESULTS
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_block.h"

#define SCSI_COPY_MAX_TARGETS 2
#define SCSI_COPY_MAX_SEGMENTS 8
#define SCSI_COPY_MAX_LIST_LENGTH \
	((SCSI_COPY_MAX_TARGETS + SCSI_COPY_MAX_SEGMENTS) * 32)
#define SCSI_COPY_MAX_SEGMENT_LENGTH (32 * 1024 * 1024)

/* Descriptor types: SPC-4, EXTENDED COPY descriptor type codes */
#define SCSI_COPY_BLOCK_TO_BLOCK	0x02
#define SCSI_COPY_BLOCK_TO_BLOCK_OFFSET	0x0a
#define SCSI_COPY_IDENTIFICATION_TARGET	0xe4

#define SCSI_COPY_HEADER_LENGTH 16
#define SCSI_COPY_TARGET_LENGTH 32

/* LIST ID USAGE */
#define SCSI_COPY_LIST_ID_HOLD		0
#define SCSI_COPY_LIST_ID_DISCARD	2
#define SCSI_COPY_LIST_ID_UNUSED	3

#define SCSI_RECEIVE_COPY_STATUS		0x00
#define SCSI_RECEIVE_OPERATING_PARAMETERS	0x03
#define SCSI_RECEIVE_FAILED_SEGMENT_DETAILS	0x04

struct scsi_copy_segment {
	uint64_t source;	/* bytes */
	uint64_t destination;
	uint64_t length;
};

struct scsi_copy {
	struct scsi_request *req;
	uint16_t num_targets;
	bool is_this_disk[SCSI_COPY_MAX_TARGETS];
	uint16_t num_segments;
	struct scsi_copy_segment segments[SCSI_COPY_MAX_SEGMENTS];
};

/* Only our own disk can be copied from and to. */
static bool scsi_copy_parse_target(struct scsi_copy *copy,
				   const uint8_t *d, size_t offset)
{
	struct scsi_request *req = copy->req;
	uint8_t naa[8];

	if (d[0] != SCSI_COPY_IDENTIFICATION_TARGET) {
		scsi_parameter_error(req, SCSI_SENSE_ILLEGAL_REQUEST,
				     SCSI_ASC_UNSUPPORTED_TARGET_DESCRIPTOR,
				     offset);
		return false;
	}
	if ((d[1] & 0x1f) == 0 &&
	    scsi_get_be24(d + 29) != req->disk->logical_sector_size) {
		scsi_invalid_field_in_parameters(req, offset + 29, -1);
		return false;
	}

	scsi_lu_designator(req->disk, naa);
	copy->is_this_disk[copy->num_targets] =
		(d[1] & 0x1f) == 0 &&	/* block device */
		(d[4] & 0x0f) == 1 &&	/* binary */
		(d[5] & 0x3f) == 3 &&	/* of the logical unit, NAA */
		d[7] == sizeof(naa) &&
		memcmp(d + 8, naa, sizeof(naa)) == 0;
	copy->num_targets += 1;
	return true;
}

static bool scsi_copy_reachable(struct scsi_copy *copy, uint16_t target)
{
	if (target < copy->num_targets && copy->is_this_disk[target]) {
		return true;
	}
	scsi_check_condition(copy->req, SCSI_SENSE_COPY_ABORTED,
			     SCSI_ASC_COPY_TARGET_DEVICE_NOT_REACHABLE);
	return false;
}

static bool scsi_copy_on_disk(struct scsi_copy *copy, uint64_t lba,
			      uint64_t num_blocks)
{
	uint64_t disk_blocks = scsi_num_blocks(copy->req->disk);

	if (lba <= disk_blocks && num_blocks <= disk_blocks - lba) {
		return true;
	}
	/* An error of the target, which would have refused it */
	scsi_check_condition(copy->req, SCSI_SENSE_COPY_ABORTED,
			     SCSI_ASC_NO_ADDITIONAL_SENSE);
	return false;
}

/* d has room bytes left to the end of the list. */
static bool scsi_copy_parse_segment(struct scsi_copy *copy, const uint8_t *d,
				    size_t room, size_t offset,
				    size_t *consumed)
{
	struct scsi_request *req = copy->req;
	uint32_t lbs = req->disk->logical_sector_size;
	struct scsi_copy_segment *segment = NULL;
	uint64_t source_lba, destination_lba, num_blocks;
	size_t length;

	switch (d[0]) {
	case SCSI_COPY_BLOCK_TO_BLOCK:
		length = 28;
		break;
	case SCSI_COPY_BLOCK_TO_BLOCK_OFFSET:
		length = 32;
		break;
	default:
		scsi_parameter_error(req, SCSI_SENSE_ILLEGAL_REQUEST,
				     SCSI_ASC_UNSUPPORTED_SEGMENT_DESCRIPTOR,
				     offset);
		return false;
	}
	if (room < length) {
		scsi_parameter_list_length_error(req);
		return false;
	}
	if (scsi_get_be16(d + 2) != length - 4) {
		scsi_invalid_field_in_parameters(req, offset + 2, -1);
		return false;
	}

	if (d[0] == SCSI_COPY_BLOCK_TO_BLOCK) {
		num_blocks = scsi_get_be16(d + 10);
	} else {
		uint32_t num_bytes = scsi_get_be32(d + 8);

		/* Whole blocks: SPC-4 lets the granularity be ours. */
		if (num_bytes % lbs != 0) {
			scsi_invalid_field_in_parameters(req, offset + 8, -1);
			return false;
		}
		if (scsi_get_be32(d + 28) != 0) {
			scsi_invalid_field_in_parameters(req, offset + 28,
							 -1);
			return false;
		}
		num_blocks = num_bytes / lbs;
	}
	if (num_blocks > SCSI_COPY_MAX_SEGMENT_LENGTH / lbs) {
		scsi_invalid_field_in_parameters(
			req, offset + (length == 28 ? 10 : 8), -1);
		return false;
	}

	source_lba = scsi_get_be64(d + 12);
	destination_lba = scsi_get_be64(d + 20);
	if (!scsi_copy_reachable(copy, scsi_get_be16(d + 4)) ||
	    !scsi_copy_reachable(copy, scsi_get_be16(d + 6)) ||
	    !scsi_copy_on_disk(copy, source_lba, num_blocks) ||
	    !scsi_copy_on_disk(copy, destination_lba, num_blocks)) {
		return false;
	}

	segment = &copy->segments[copy->num_segments];
	*segment = (struct scsi_copy_segment) {
		.source = source_lba * lbs,
		.destination = destination_lba * lbs,
		.length = num_blocks * lbs,
	};
	copy->num_segments += 1;
	*consumed = length;
	return true;
}

/*
 * The whole list is looked at before the first byte moves: what
 * is refused has changed nothing, and leaves nothing to be asked for later.
 */
static bool scsi_copy_parse(struct scsi_copy *copy, const uint8_t *list,
			    size_t list_length)
{
	struct scsi_request *req = copy->req;
	size_t targets_length, segments_length;
	size_t offset = SCSI_COPY_HEADER_LENGTH;
	size_t end;

	if (list_length < SCSI_COPY_HEADER_LENGTH ||
	    req->task->data_out_length < list_length) {
		scsi_parameter_list_length_error(req);
		return false;
	}
	targets_length = scsi_get_be16(list + 2);
	segments_length = scsi_get_be32(list + 8);
	if (scsi_get_be32(list + 12) != 0) {
		scsi_check_condition(req, SCSI_SENSE_ILLEGAL_REQUEST,
				     SCSI_ASC_INLINE_DATA_LENGTH_EXCEEDED);
		return false;
	}
	if (segments_length > SCSI_COPY_MAX_LIST_LENGTH ||
	    targets_length + segments_length > SCSI_COPY_MAX_LIST_LENGTH ||
	    targets_length + segments_length > list_length - offset) {
		scsi_parameter_list_length_error(req);
		return false;
	}
	if (targets_length % SCSI_COPY_TARGET_LENGTH != 0) {
		scsi_invalid_field_in_parameters(req, 2, -1);
		return false;
	}
	if (targets_length / SCSI_COPY_TARGET_LENGTH >
	    SCSI_COPY_MAX_TARGETS) {
		scsi_check_condition(req, SCSI_SENSE_ILLEGAL_REQUEST,
				     SCSI_ASC_TOO_MANY_TARGET_DESCRIPTORS);
		return false;
	}

	end = offset + targets_length;
	while (offset < end) {
		if (!scsi_copy_parse_target(copy, list + offset, offset)) {
			return false;
		}
		offset += SCSI_COPY_TARGET_LENGTH;
	}

	end = offset + segments_length;
	while (offset < end) {
		size_t consumed = 0;

		if (copy->num_segments == SCSI_COPY_MAX_SEGMENTS) {
			scsi_check_condition(
				req, SCSI_SENSE_ILLEGAL_REQUEST,
				SCSI_ASC_TOO_MANY_SEGMENT_DESCRIPTORS);
			return false;
		}
		if (!scsi_copy_parse_segment(copy, list + offset,
					     end - offset, offset,
					     &consumed)) {
			return false;
		}
		offset += consumed;
	}
	return true;
}

/* From the end when the destination overlaps what is still to be read */
static bool scsi_copy_move(struct scsi_request *req,
			   const struct scsi_copy_segment *segment)
{
	bool backwards = segment->destination > segment->source;
	uint8_t buf[SCSI_CHUNK_SIZE];
	uint64_t done = 0;

	while (done < segment->length) {
		size_t chunk = MIN(segment->length - done, sizeof(buf));
		uint64_t at = backwards ? segment->length - done - chunk :
			done;

		if (!scsi_block_read(req, buf, chunk, segment->source + at) ||
		    !scsi_block_write(req, buf, chunk,
				      segment->destination + at)) {
			return false;
		}
		done += chunk;
	}
	return true;
}

/* SPC-4 6.4, EXTENDED COPY(LID1) */
void scsi_extended_copy(struct scsi_request *req)
{
	const uint8_t *list = req->task->data_out;
	uint32_t list_length = scsi_get_be32(req->task->cdb + 10);
	struct scsi_copy_result *result = &req->nexus->copy;
	struct scsi_copy copy = { .req = req };
	uint64_t transferred = 0;
	uint8_t usage;
	uint16_t i;

	if (list_length == 0) {
		return;
	}
	if (req->task->data_out_length >= SCSI_COPY_HEADER_LENGTH &&
	    list[0] == result->list_id) {
		/* The next command of that name ends the old one. */
		result->held = false;
	}
	if (!scsi_copy_parse(&copy, list, list_length)) {
		return;
	}

	usage = (list[1] >> 3) & 0x03;
	result->held = false;
	for (i = 0; i < copy.num_segments; i++) {
		if (!scsi_copy_move(req, &copy.segments[i])) {
			break;
		}
		transferred += copy.segments[i].length;
	}
	if (i == copy.num_segments) {
		scsi_block_flush_written(req);
	}

	if (usage == SCSI_COPY_LIST_ID_HOLD ||
	    (usage == SCSI_COPY_LIST_ID_DISCARD &&
	     req->task->status != SCSI_STATUS_GOOD)) {
		*result = (struct scsi_copy_result) {
			.held = true,
			.failed = req->task->status != SCSI_STATUS_GOOD,
			.list_id = list[0],
			.num_segments = i,
			.transferred = transferred,
		};
	}
}

/* SPC-4, RECEIVE COPY STATUS(LID1) */
static void scsi_copy_status(struct scsi_request *req,
			     const struct scsi_copy_result *result)
{
	struct scsi_data_in in;

	scsi_data_in_start(req, &in, scsi_get_be32(req->task->cdb + 10));
	scsi_data_in_put_be32(&in, 8);
	/* Completed without, with errors */
	scsi_data_in_put_u8(&in, result->failed ? 0x02 : 0x01);
	scsi_data_in_put_be16(&in, result->num_segments);
	scsi_data_in_put_u8(&in, 0x00);		/* in bytes */
	scsi_data_in_put_be32(&in, result->transferred);
	scsi_data_in_end(req, &in);
}

/* SPC-4, RECEIVE COPY OPERATING PARAMETERS */
static void scsi_copy_operating_parameters(struct scsi_request *req)
{
	uint8_t buf[47] = {
		[3] = sizeof(buf) - 4,
		[4] = 0x01,		/* SNLID */
		[9] = SCSI_COPY_MAX_TARGETS,
		[11] = SCSI_COPY_MAX_SEGMENTS,
		[35] = 1,		/* total concurrent copies */
		[36] = 1,		/* maximum concurrent copies */
		[43] = 3,
		[44] = SCSI_COPY_BLOCK_TO_BLOCK,
		[45] = SCSI_COPY_BLOCK_TO_BLOCK_OFFSET,
		[46] = SCSI_COPY_IDENTIFICATION_TARGET,
	};
	uint32_t granularity = req->disk->logical_sector_size;

	scsi_put_be32(buf + 12, SCSI_COPY_MAX_LIST_LENGTH);
	scsi_put_be32(buf + 16, SCSI_COPY_MAX_SEGMENT_LENGTH);
	while (granularity > 1) {
		buf[37] += 1;
		granularity /= 2;
	}
	scsi_data_in_copy(req, buf, sizeof(buf),
			  scsi_get_be32(req->task->cdb + 10));
}

/* RECEIVE COPY RESULTS, as SPC-3 calls its service actions together */
void scsi_receive_copy_results(struct scsi_request *req)
{
	const uint8_t *cdb = req->task->cdb;
	struct scsi_copy_result *result = &req->nexus->copy;
	struct scsi_data_in in;

	if (req->command->service_action ==
	    SCSI_RECEIVE_OPERATING_PARAMETERS) {
		scsi_copy_operating_parameters(req);
		return;
	}

	if (!result->held || result->list_id != cdb[2]) {
		scsi_invalid_field_in_cdb(req, 2, -1);
		return;
	}

	/* Told once */
	result->held = false;
	switch (req->command->service_action) {
	case SCSI_RECEIVE_COPY_STATUS:
		scsi_copy_status(req, result);
		return;
	case SCSI_RECEIVE_FAILED_SEGMENT_DETAILS:
		/* No details: the sense data has come with the command. */
		scsi_data_in_start(req, &in, scsi_get_be32(cdb + 10));
		scsi_data_in_put_zeros(&in, 4);
		scsi_data_in_end(req, &in);
		return;
	}
}

/* SPC-4, Third-party Copy VPD page */
void scsi_vpd_third_party_copy(struct scsi_request *req,
			       struct scsi_data_in *in)
{
	static const uint8_t supported_commands[] = {
		0x00, 0x01, 0x00, 0x0c,
		8, 0x83, 1, 0x00, 0x84, 3, 0x00, 0x03, 0x04, 0, 0, 0
	};
	static const uint8_t supported_descriptors[] = {
		0x00, 0x08, 0x00, 0x04,
		3, SCSI_COPY_BLOCK_TO_BLOCK, SCSI_COPY_BLOCK_TO_BLOCK_OFFSET,
		SCSI_COPY_IDENTIFICATION_TARGET
	};

	scsi_data_in_put(in, supported_commands, sizeof(supported_commands));

	/* Parameter data */
	scsi_data_in_put_be16(in, 0x0004);
	scsi_data_in_put_be16(in, 0x001c);
	scsi_data_in_put_zeros(in, 4);
	scsi_data_in_put_be16(in, SCSI_COPY_MAX_TARGETS);
	scsi_data_in_put_be16(in, SCSI_COPY_MAX_SEGMENTS);
	scsi_data_in_put_be32(in, SCSI_COPY_MAX_LIST_LENGTH);
	scsi_data_in_put_zeros(in, 16);

	scsi_data_in_put(in, supported_descriptors,
			 sizeof(supported_descriptors));

	/* General copy operations */
	scsi_data_in_put_be16(in, 0x8001);
	scsi_data_in_put_be16(in, 0x0020);
	scsi_data_in_put_be32(in, 1);
	scsi_data_in_put_be32(in, 1);
	scsi_data_in_put_be32(in, SCSI_COPY_MAX_SEGMENT_LENGTH);
	scsi_data_in_put_zeros(in, 20);
}
