/*
 * vfs_rsvd: sense data, and the ways a command can end
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_private.h"

/*
 * The standard allows 252 bytes, RSVD carries 20. Fixed format data has 18
 * bytes. Descriptor format data has a header of 8 and in the remaining 12
 * room for either an information or a sense key specific descriptor, and no
 * condition of ours needs both.
 */
#define SCSI_FIXED_SENSE_LENGTH 18
#define SCSI_INFORMATION_DESCRIPTOR_LENGTH 12
#define SCSI_SKS_DESCRIPTOR_LENGTH 8

/* Sense key specific data, the byte before the field pointer */
#define SCSI_SKSV 0x80
#define SCSI_SKS_IN_CDB 0x40
#define SCSI_SKS_BIT_VALID 0x08

/* Header of sense data in either format: SPC-4 4.5.2, 4.5.3 */
size_t scsi_sense_data(bool descriptor_format, uint8_t key, uint16_t asc,
		       uint8_t *buf)
{
	memset(buf, 0, SCSI_SENSE_SIZE);

	if (descriptor_format) {
		buf[0] = 0x72;
		buf[1] = key;
		buf[2] = asc >> 8;
		buf[3] = asc & 0xff;
		return 8;
	}

	buf[0] = 0x70;
	buf[2] = key;
	buf[7] = SCSI_FIXED_SENSE_LENGTH - 8;
	buf[12] = asc >> 8;
	buf[13] = asc & 0xff;
	return SCSI_FIXED_SENSE_LENGTH;
}

void scsi_check_condition(struct scsi_request *req, uint8_t key, uint16_t asc)
{
	struct scsi_task *task = req->task;

	task->status = SCSI_STATUS_CHECK_CONDITION;
	task->data_in_length = 0;
	task->sense_length = scsi_sense_data(req->mode & SCSI_MODE_D_SENSE,
					     key, asc, task->sense);
}

/* With the INFORMATION field */
void scsi_check_condition_info(struct scsi_request *req, uint8_t key,
			       uint16_t asc, uint64_t information)
{
	struct scsi_task *task = req->task;
	uint8_t *sense = task->sense;

	scsi_check_condition(req, key, asc);

	if (req->mode & SCSI_MODE_D_SENSE) {
		uint8_t *d = sense + task->sense_length;

		d[0] = 0x00;
		d[1] = SCSI_INFORMATION_DESCRIPTOR_LENGTH - 2;
		d[2] = 0x80;
		scsi_put_be64(d + 4, information);
		sense[7] = SCSI_INFORMATION_DESCRIPTOR_LENGTH;
		task->sense_length += SCSI_INFORMATION_DESCRIPTOR_LENGTH;
		return;
	}

	/* A value that doesn't fit is not valid: SPC-4 4.5.3 */
	if (information <= UINT32_MAX) {
		sense[0] |= 0x80;
		scsi_put_be32(sense + 3, information);
	}
}

/* With a field pointer */
static void scsi_check_condition_field(struct scsi_request *req, uint8_t key,
				       uint16_t asc, uint8_t flags,
				       uint16_t byte, int8_t bit)
{
	struct scsi_task *task = req->task;
	uint8_t *sks = task->sense + 15;

	scsi_check_condition(req, key, asc);

	if (req->mode & SCSI_MODE_D_SENSE) {
		uint8_t *d = task->sense + task->sense_length;

		d[0] = 0x02;
		d[1] = SCSI_SKS_DESCRIPTOR_LENGTH - 2;
		sks = d + 4;
		task->sense[7] = SCSI_SKS_DESCRIPTOR_LENGTH;
		task->sense_length += SCSI_SKS_DESCRIPTOR_LENGTH;
	}

	sks[0] = SCSI_SKSV | flags;
	if (bit >= 0) {
		sks[0] |= SCSI_SKS_BIT_VALID | bit;
	}
	scsi_put_be16(sks + 1, byte);
}

/* bit is the most significant one of the field, -1 for whole bytes. */
void scsi_invalid_field_in_cdb(struct scsi_request *req, uint8_t byte,
			       int8_t bit)
{
	scsi_check_condition_field(req, SCSI_SENSE_ILLEGAL_REQUEST,
				   SCSI_ASC_INVALID_FIELD_IN_CDB,
				   SCSI_SKS_IN_CDB, byte, bit);
}

void scsi_invalid_field_in_parameters(struct scsi_request *req,
				      uint16_t byte, int8_t bit)
{
	scsi_check_condition_field(req, SCSI_SENSE_ILLEGAL_REQUEST,
				   SCSI_ASC_INVALID_FIELD_IN_PARAMETERS,
				   0, byte, bit);
}

void scsi_parameter_error(struct scsi_request *req, uint8_t key, uint16_t asc,
			  uint16_t byte)
{
	scsi_check_condition_field(req, key, asc, 0, byte, -1);
}

void scsi_parameter_list_length_error(struct scsi_request *req)
{
	scsi_check_condition(req, SCSI_SENSE_ILLEGAL_REQUEST,
			     SCSI_ASC_PARAMETER_LIST_LENGTH_ERROR);
}

static void scsi_io_error_code(NTSTATUS error, bool is_write, uint8_t *key,
			       uint16_t *asc)
{
	if (NT_STATUS_EQUAL(error, NT_STATUS_DISK_FULL)) {
		/* Thin provisioning: no resources to map a block */
		*key = SCSI_SENSE_DATA_PROTECT;
		*asc = SCSI_ASC_SPACE_ALLOCATION_FAILED;
		return;
	}
	if (NT_STATUS_EQUAL(error, NT_STATUS_ACCESS_DENIED) && !is_write) {
		*key = SCSI_SENSE_ILLEGAL_REQUEST;
		*asc = SCSI_ASC_NO_ACCESS_RIGHTS;
		return;
	}
	if (NT_STATUS_EQUAL(error, NT_STATUS_ACCESS_DENIED) ||
	    NT_STATUS_EQUAL(error, NT_STATUS_MEDIA_WRITE_PROTECTED)) {
		*key = SCSI_SENSE_DATA_PROTECT;
		*asc = SCSI_ASC_WRITE_PROTECTED;
		return;
	}
	if (NT_STATUS_EQUAL(error, NT_STATUS_INVALID_PARAMETER)) {
		/* SBC-3 4.5: a range that is not on the disk */
		*key = SCSI_SENSE_ILLEGAL_REQUEST;
		*asc = SCSI_ASC_LBA_OUT_OF_RANGE;
		return;
	}
	if (NT_STATUS_EQUAL(error, NT_STATUS_REQUEST_ABORTED)) {
		/* By another initiator, who has preempted this one */
		*key = SCSI_SENSE_ABORTED_COMMAND;
		*asc = SCSI_ASC_NO_ADDITIONAL_SENSE;
		return;
	}
	if (NT_STATUS_EQUAL(error, NT_STATUS_NO_MEMORY)) {
		*key = SCSI_SENSE_HARDWARE_ERROR;
		*asc = SCSI_ASC_INTERNAL_TARGET_FAILURE;
		return;
	}

	*key = SCSI_SENSE_MEDIUM_ERROR;
	*asc = is_write ? SCSI_ASC_WRITE_ERROR :
		SCSI_ASC_UNRECOVERED_READ_ERROR;
}

void scsi_io_error(struct scsi_request *req, NTSTATUS error, bool is_write)
{
	uint8_t key;
	uint16_t asc;

	scsi_io_error_code(error, is_write, &key, &asc);
	scsi_check_condition(req, key, asc);
}

/* The same when it is known which block cannot be read */
void scsi_read_error(struct scsi_request *req, NTSTATUS error, uint64_t lba)
{
	uint8_t key;
	uint16_t asc;

	scsi_io_error_code(error, false, &key, &asc);
	if (key == SCSI_SENSE_MEDIUM_ERROR) {
		scsi_check_condition_info(req, key, asc, lba);
		return;
	}
	scsi_check_condition(req, key, asc);
}

/* The shared state could not be read or changed. */
void scsi_state_error(struct scsi_request *req, NTSTATUS error)
{
	if (NT_STATUS_EQUAL(error, NT_STATUS_IO_TIMEOUT) ||
	    NT_STATUS_EQUAL(error, NT_STATUS_DEVICE_BUSY)) {
		req->task->status = SCSI_STATUS_BUSY;
		req->task->data_in_length = 0;
		return;
	}
	scsi_check_condition(req, SCSI_SENSE_HARDWARE_ERROR,
			     SCSI_ASC_INTERNAL_TARGET_FAILURE);
}

void scsi_reservation_conflict(struct scsi_request *req)
{
	req->task->status = SCSI_STATUS_RESERVATION_CONFLICT;
	req->task->data_in_length = 0;
	req->task->sense_length = 0;
}

static const struct {
	uint32_t ua;
	uint16_t asc;
} scsi_unit_attention_codes[] = {
	{ SCSI_UA_REGISTRATIONS_PREEMPTED, SCSI_ASC_REGISTRATIONS_PREEMPTED },
	{ SCSI_UA_RESERVATIONS_PREEMPTED, SCSI_ASC_RESERVATIONS_PREEMPTED },
	{ SCSI_UA_RESERVATIONS_RELEASED, SCSI_ASC_RESERVATIONS_RELEASED },
	{ SCSI_UA_COMMANDS_CLEARED, SCSI_ASC_COMMANDS_CLEARED },
	{ SCSI_UA_CAPACITY_DATA_CHANGED, SCSI_ASC_CAPACITY_DATA_CHANGED },
	{ SCSI_UA_MODE_PARAMETERS_CHANGED, SCSI_ASC_MODE_PARAMETERS_CHANGED },
	{ SCSI_UA_OPERATING_DEFINITION_CHANGED,
	  SCSI_ASC_OPERATING_DEFINITION_CHANGED },
	{ SCSI_UA_INQUIRY_DATA_CHANGED, SCSI_ASC_INQUIRY_DATA_CHANGED },
};

uint16_t scsi_ua_asc(uint32_t ua)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(scsi_unit_attention_codes); i++) {
		if (scsi_unit_attention_codes[i].ua == ua) {
			return scsi_unit_attention_codes[i].asc;
		}
	}
	return SCSI_ASC_NO_ADDITIONAL_SENSE;
}

void scsi_report_unit_attention(struct scsi_request *req, uint32_t ua)
{
	scsi_check_condition(req, SCSI_SENSE_UNIT_ATTENTION, scsi_ua_asc(ua));
}

static uint8_t scsi_sense_of_state(const struct scsi_state *state,
				   uint8_t key, uint16_t asc,
				   uint8_t sense[SCSI_SENSE_SIZE])
{
	bool descriptor_format =
		state != NULL && (state->mode & SCSI_MODE_D_SENSE);

	return scsi_sense_data(descriptor_format, key, asc, sense);
}

uint8_t scsi_sense_write_protected(const struct scsi_state *state,
				   uint8_t sense[SCSI_SENSE_SIZE])
{
	return scsi_sense_of_state(state, SCSI_SENSE_DATA_PROTECT,
				   SCSI_ASC_SOFTWARE_WRITE_PROTECTED, sense);
}

uint8_t scsi_sense_sanitize(const struct scsi_state *state,
			    uint8_t sense[SCSI_SENSE_SIZE])
{
	uint8_t key = SCSI_SENSE_NOT_READY;
	uint16_t asc = SCSI_ASC_SANITIZE_IN_PROGRESS;

	/* When it has ended just now, it was running when it was asked. */
	if (state != NULL) {
		scsi_sanitize_sense(state, &key, &asc);
	}
	return scsi_sense_of_state(state, key, asc, sense);
}

uint8_t scsi_sense_io_error(const struct scsi_state *state, NTSTATUS error,
			    bool is_write, uint8_t sense[SCSI_SENSE_SIZE])
{
	uint8_t key;
	uint16_t asc;

	scsi_io_error_code(error, is_write, &key, &asc);
	return scsi_sense_of_state(state, key, asc, sense);
}
