/*
 * vfs_rsvd: small primary commands
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_private.h"

void scsi_test_unit_ready(struct scsi_request *req)
{
	/* Not ready for what one expects of a ready disk */
	scsi_medium_undefined(req);
}

/*
 * SPC-4 6.39, REQUEST SENSE. All sense data went with its command; what is
 * left to tell is a unit attention, and what SANITIZE makes of the medium.
 */
void scsi_request_sense(struct scsi_request *req)
{
	const uint8_t *cdb = req->task->cdb;
	const struct scsi_state *state = NULL;
	const struct scsi_nexus_state *nexus = NULL;
	uint8_t key = SCSI_SENSE_NO_SENSE;
	uint16_t asc = SCSI_ASC_NO_ADDITIONAL_SENSE;
	uint8_t buf[SCSI_SENSE_SIZE];
	size_t length;

	state = scsi_disk_state(req->disk);
	if (state == NULL) {
		scsi_state_error(req, NT_STATUS_INTERNAL_DB_ERROR);
		return;
	}

	scsi_sanitize_sense(state, &key, &asc);

	nexus = scsi_state_find(state, &req->nexus->initiator_id);
	if (nexus != NULL && nexus->unit_attentions != 0) {
		uint32_t ua = 0;
		NTSTATUS status;

		status = scsi_take_unit_attention(
			req->disk, &req->nexus->initiator_id, &ua, NULL);
		if (!NT_STATUS_IS_OK(status)) {
			scsi_state_error(req, status);
			return;
		}
		if (ua != 0) {
			key = SCSI_SENSE_UNIT_ATTENTION;
			asc = scsi_ua_asc(ua);
		}
	}

	/* Here DESC decides about the format, D_SENSE doesn't. */
	length = scsi_sense_data(cdb[1] & 0x01, key, asc, buf);
	scsi_data_in_copy(req, buf, length, cdb[4]);
}

/*
 * SBC-3, START STOP UNIT. A disk in a file neither spins nor sleeps: it is
 * always on, and one initiator cannot stop it for the others.
 */
void scsi_start_stop_unit(struct scsi_request *req)
{
	const uint8_t *cdb = req->task->cdb;
	uint8_t power_condition = cdb[4] >> 4;
	bool no_flush = cdb[4] & 0x04;
	bool loej = cdb[4] & 0x02;
	bool start = cdb[4] & 0x01;

	/* Only a plain start passes a reservation. */
	if ((!start || power_condition != 0) &&
	    scsi_request_conflicts(req, SCSI_CONFLICT_WRITE)) {
		return;
	}

	switch (power_condition) {
	case 0x0:
		break;
	case 0x1:	/* ACTIVE */
	case 0x2:	/* IDLE */
	case 0x3:	/* STANDBY */
	case 0x7:	/* LU_CONTROL */
	case 0xa:	/* FORCE_IDLE_0 */
	case 0xb:	/* FORCE_STANDBY_0 */
		loej = false;
		break;
	default:
		scsi_invalid_field_in_cdb(req, 4, 7);
		return;
	}
	if (loej) {
		/* Nothing to load or eject */
		scsi_invalid_field_in_cdb(req, 4, 1);
		return;
	}

	if (!start && !no_flush && power_condition == 0 &&
	    req->disk->ops->flush != NULL) {
		NTSTATUS status =
			req->disk->ops->flush(req->disk->private_data);

		if (!NT_STATUS_IS_OK(status)) {
			scsi_io_error(req, status, true);
		}
	}
}

/*
 * SPC-4 6.42, SEND DIAGNOSTIC, which SBC-3 has among the mandatory commands.
 * The default self-test is passed by a disk that can be reached; there are no
 * others, and no diagnostic pages.
 */
void scsi_send_diagnostic(struct scsi_request *req)
{
	const uint8_t *cdb = req->task->cdb;

	if ((cdb[1] & 0xe0) != 0) {
		/* SELF-TEST CODE */
		scsi_invalid_field_in_cdb(req, 1, 7);
		return;
	}
	if (scsi_get_be16(cdb + 3) != 0) {
		scsi_invalid_field_in_cdb(req, 3, -1);
	}
}

/* The medium cannot be removed, so there is nothing to prevent. */
void scsi_prevent_allow(struct scsi_request *req)
{
	if (req->task->cdb[4] != 0) {
		scsi_request_conflicts(req, SCSI_CONFLICT_WRITE);
	}
}

/*
 * SPC-4 6.8, LOG SENSE. The list of log pages and the informational
 * exceptions page that disk monitors look for; nothing else is counted.
 */
void scsi_log_sense(struct scsi_request *req)
{
	const uint8_t *cdb = req->task->cdb;
	static const uint8_t supported_pages[] = {
		0x00, 0x00, 0x00, 0x02,
		0x00, 0x2f
	};
	static const uint8_t supported_subpages[] = {
		0x40, 0xff, 0x00, 0x06,
		0x00, 0x00, 0x00, 0xff, 0x2f, 0x00
	};
	/* No informational exception, no temperature */
	static const uint8_t informational_exceptions[] = {
		0x2f, 0x00, 0x00, 0x08,
		0x00, 0x00, 0x03, 0x04, 0x00, 0x00, 0xff, 0x00
	};
	uint8_t page = cdb[2] & 0x3f;
	uint8_t subpage = cdb[3];
	uint16_t allocation_length = scsi_get_be16(cdb + 7);

	if (scsi_get_be16(cdb + 5) != 0) {
		/* A parameter pointer beyond the last parameter code */
		scsi_invalid_field_in_cdb(req, 5, -1);
		return;
	}

	if (page == 0x00 && subpage == 0x00) {
		scsi_data_in_copy(req, supported_pages,
				  sizeof(supported_pages), allocation_length);
		return;
	}
	if (page == 0x00 && subpage == 0xff) {
		scsi_data_in_copy(req, supported_subpages,
				  sizeof(supported_subpages),
				  allocation_length);
		return;
	}
	if (page == 0x2f && subpage == 0x00) {
		scsi_data_in_copy(req, informational_exceptions,
				  sizeof(informational_exceptions),
				  allocation_length);
		return;
	}
	if (page != 0x00 && page != 0x2f) {
		scsi_invalid_field_in_cdb(req, 2, 5);
		return;
	}
	scsi_invalid_field_in_cdb(req, 3, -1);
}
