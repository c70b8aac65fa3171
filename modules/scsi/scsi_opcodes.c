/*
 * vfs_rsvd: what the device server can do, told from the table of commands
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_private.h"

/* SUPPORT field of the one command format */
#define SCSI_SUPPORT_NONE 0x01
#define SCSI_SUPPORT_STANDARD 0x03

#define SCSI_TIMEOUTS_DESCRIPTOR_LENGTH 12

/* Command timeouts descriptor; zero: nothing is specified */
static void scsi_put_timeouts(struct scsi_data_in *in)
{
	scsi_data_in_put_be16(in, SCSI_TIMEOUTS_DESCRIPTOR_LENGTH - 2);
	scsi_data_in_put_zeros(in, SCSI_TIMEOUTS_DESCRIPTOR_LENGTH - 2);
}

static void scsi_put_command(struct scsi_data_in *in,
			     const struct scsi_command *c, bool timeouts)
{
	bool has_sa = c->service_action != SCSI_NO_SERVICE_ACTION;

	scsi_data_in_put_u8(in, c->opcode);
	scsi_data_in_put_u8(in, 0);
	scsi_data_in_put_be16(in, has_sa ? c->service_action : 0);
	scsi_data_in_put_u8(in, 0);
	/* CTDP, SERVACTV */
	scsi_data_in_put_u8(in, (timeouts ? 0x02 : 0) | (has_sa ? 0x01 : 0));
	scsi_data_in_put_be16(in, c->cdb_length);
	if (timeouts) {
		scsi_put_timeouts(in);
	}
}

static void scsi_report_all_commands(struct scsi_request *req, bool timeouts)
{
	struct scsi_data_in in;
	size_t i;

	scsi_data_in_start(req, &in, scsi_get_be32(req->task->cdb + 6));
	scsi_data_in_put_zeros(&in, 4);
	for (i = 0; i < scsi_num_commands(); i++) {
		const struct scsi_command *c = scsi_command_by_index(i);

		if (scsi_command_supported(req->disk, c)) {
			scsi_put_command(&in, c, timeouts);
		}
	}
	scsi_data_in_patch_be32(&in, 0, in.length - 4);
	scsi_data_in_end(req, &in);
}

static void scsi_report_one_command(struct scsi_request *req,
				    const struct scsi_command *c,
				    bool timeouts)
{
	struct scsi_data_in in;

	scsi_data_in_start(req, &in, scsi_get_be32(req->task->cdb + 6));
	scsi_data_in_put_u8(&in, 0);
	if (c == NULL) {
		scsi_data_in_put_u8(&in, SCSI_SUPPORT_NONE);
		scsi_data_in_put_be16(&in, 0);
		scsi_data_in_end(req, &in);
		return;
	}
	scsi_data_in_put_u8(&in, SCSI_SUPPORT_STANDARD |
			    (timeouts ? 0x80 : 0));
	scsi_data_in_put_be16(&in, c->cdb_length);
	scsi_data_in_put(&in, c->usage, c->cdb_length);
	if (timeouts) {
		scsi_put_timeouts(&in);
	}
	scsi_data_in_end(req, &in);
}

/* SPC-4 6.35 */
void scsi_report_supported_opcodes(struct scsi_request *req)
{
	const uint8_t *cdb = req->task->cdb;
	bool timeouts = cdb[2] & 0x80;
	uint8_t options = cdb[2] & 0x07;
	uint8_t opcode = cdb[3];
	uint16_t service_action = scsi_get_be16(cdb + 4);
	const struct scsi_command *found = NULL;
	bool opcode_has_sa = false;
	bool opcode_known = false;
	size_t i;

	if (options == 0) {
		scsi_report_all_commands(req, timeouts);
		return;
	}
	if (options > 3) {
		scsi_invalid_field_in_cdb(req, 2, 2);
		return;
	}

	for (i = 0; i < scsi_num_commands(); i++) {
		const struct scsi_command *c = scsi_command_by_index(i);

		if (c->opcode != opcode ||
		    !scsi_command_supported(req->disk, c)) {
			continue;
		}
		opcode_known = true;
		if (c->service_action == SCSI_NO_SERVICE_ACTION) {
			/* Option 3 wants a service action of zero here. */
			if (options != 3 || service_action == 0) {
				found = c;
			}
			continue;
		}
		opcode_has_sa = true;
		if (c->service_action == service_action) {
			found = c;
		}
	}

	/* Option 1 is for commands without service actions, 2 for those with */
	if ((options == 1 && opcode_has_sa) ||
	    (options == 2 && opcode_known && !opcode_has_sa)) {
		scsi_invalid_field_in_cdb(req, 2, 2);
		return;
	}
	scsi_report_one_command(req, found, timeouts);
}

/*
 * SPC-4 6.36. RSVD has no task management: an initiator closes its open, or
 * cancels the SMB2 request.
 */
void scsi_report_supported_task_management(struct scsi_request *req)
{
	const uint8_t *cdb = req->task->cdb;
	static const uint8_t buf[16] = { [3] = 12 };
	uint32_t allocation_length = scsi_get_be32(cdb + 6);
	bool extended = cdb[2] & 0x80;

	if (allocation_length < 4) {
		scsi_invalid_field_in_cdb(req, 6, -1);
		return;
	}
	if (!extended) {
		scsi_data_in_copy(req, "\0\0\0", 4, allocation_length);
		return;
	}
	scsi_data_in_copy(req, buf, sizeof(buf), allocation_length);
}
