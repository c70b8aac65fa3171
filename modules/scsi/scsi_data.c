/*
 * vfs_rsvd: parameter data to the initiator
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_private.h"

void scsi_data_in_start(struct scsi_request *req, struct scsi_data_in *in,
			uint32_t allocation_length)
{
	*in = (struct scsi_data_in) {
		.buf = req->task->data_in,
		.room = MIN(allocation_length, req->task->data_in_size),
		.is_transport_room =
			allocation_length > req->task->data_in_size,
	};
}

void scsi_data_in_put(struct scsi_data_in *in, const void *data,
		      size_t length)
{
	if (in->length < in->room) {
		memcpy(in->buf + in->length, data,
		       MIN(length, in->room - in->length));
	}
	in->length += length;
}

void scsi_data_in_put_u8(struct scsi_data_in *in, uint8_t v)
{
	scsi_data_in_put(in, &v, sizeof(v));
}

void scsi_data_in_put_be16(struct scsi_data_in *in, uint16_t v)
{
	uint8_t buf[2];

	scsi_put_be16(buf, v);
	scsi_data_in_put(in, buf, sizeof(buf));
}

void scsi_data_in_put_be32(struct scsi_data_in *in, uint32_t v)
{
	uint8_t buf[4];

	scsi_put_be32(buf, v);
	scsi_data_in_put(in, buf, sizeof(buf));
}

void scsi_data_in_put_be64(struct scsi_data_in *in, uint64_t v)
{
	uint8_t buf[8];

	scsi_put_be64(buf, v);
	scsi_data_in_put(in, buf, sizeof(buf));
}

void scsi_data_in_put_zeros(struct scsi_data_in *in, size_t length)
{
	if (in->length < in->room) {
		memset(in->buf + in->length, 0,
		       MIN(length, in->room - in->length));
	}
	in->length += length;
}

/* Fill in a length that is known only now: it tells of truncated data too. */
void scsi_data_in_patch_be32(struct scsi_data_in *in, size_t offset,
			     uint32_t v)
{
	uint8_t buf[4];

	if (offset >= in->room) {
		return;
	}
	scsi_put_be32(buf, v);
	memcpy(in->buf + offset, buf, MIN(sizeof(buf), in->room - offset));
}

void scsi_data_in_end(struct scsi_request *req, struct scsi_data_in *in)
{
	req->task->data_in_length = MIN(in->length, in->room);
	req->task->data_in_overrun = in->is_transport_room &&
		in->length > in->room;
}

void scsi_data_in_copy(struct scsi_request *req, const void *data,
		       size_t length, uint32_t allocation_length)
{
	struct scsi_data_in in;

	scsi_data_in_start(req, &in, allocation_length);
	scsi_data_in_put(&in, data, length);
	scsi_data_in_end(req, &in);
}
