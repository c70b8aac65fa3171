/*
 * librsvd: GUIDs, and what codes mean in words
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/librsvd/librsvd_private.h"
#include "librpc/ndr/libndr.h"

/*
 * GUIDs
 */

struct GUID librsvd_guid_to_ndr(const struct librsvd_guid *guid)
{
	DATA_BLOB blob = data_blob_const(guid->bytes, sizeof(guid->bytes));
	struct GUID result = { .time_low = 0 };

	/* Cannot fail: any 16 bytes are a GUID. */
	GUID_from_ndr_blob(&blob, &result);
	return result;
}

struct librsvd_guid librsvd_guid_from_ndr(const struct GUID *guid)
{
	struct librsvd_guid result = { .bytes = { 0 } };
	struct GUID_ndr_buf buf = { .buf = { 0 } };

	GUID_to_ndr_buf(guid, &buf);
	memcpy(result.bytes, buf.buf, sizeof(result.bytes));
	return result;
}

bool librsvd_guid_parse(const char *text, struct librsvd_guid *_guid)
{
	const size_t length = strlen(text);
	struct GUID guid;
	NTSTATUS status;

	/* GUID_from_string() would take 32 hex digits and 16 bytes as well. */
	if (length != 36 && length != 38) {
		return false;
	}
	status = GUID_from_string(text, &guid);
	if (!NT_STATUS_IS_OK(status)) {
		return false;
	}
	*_guid = librsvd_guid_from_ndr(&guid);
	return true;
}

char *librsvd_guid_string(TALLOC_CTX *mem_ctx, const struct librsvd_guid *_guid)
{
	struct GUID guid = librsvd_guid_to_ndr(_guid);

	return GUID_string(mem_ctx, &guid);
}

struct librsvd_guid librsvd_guid_random(void)
{
	struct GUID guid = GUID_random();

	return librsvd_guid_from_ndr(&guid);
}

/*
 * Status codes
 */

bool librsvd_status_is_stored(NTSTATUS status, uint8_t *key)
{
	if (!NT_STATUS_IS_SVHDX_ERROR_STORED(status)) {
		return false;
	}
	if (key != NULL) {
		*key = NT_STATUS_V(status) & 0xFF;
	}
	return true;
}

static const struct {
	uint32_t status;
	const char *name;
} librsvd_status_names[] = {
	{ STATUS_SVHDX_ERROR_NOT_AVAILABLE,
	  "STATUS_SVHDX_ERROR_NOT_AVAILABLE" },
	{ STATUS_SVHDX_UNIT_ATTENTION_AVAILABLE,
	  "STATUS_SVHDX_UNIT_ATTENTION_AVAILABLE" },
	{ STATUS_SVHDX_UNIT_ATTENTION_CAPACITY_DATA_CHANGED,
	  "STATUS_SVHDX_UNIT_ATTENTION_CAPACITY_DATA_CHANGED" },
	{ STATUS_SVHDX_UNIT_ATTENTION_RESERVATIONS_PREEMPTED,
	  "STATUS_SVHDX_UNIT_ATTENTION_RESERVATIONS_PREEMPTED" },
	{ STATUS_SVHDX_UNIT_ATTENTION_RESERVATIONS_RELEASED,
	  "STATUS_SVHDX_UNIT_ATTENTION_RESERVATIONS_RELEASED" },
	{ STATUS_SVHDX_UNIT_ATTENTION_REGISTRATIONS_PREEMPTED,
	  "STATUS_SVHDX_UNIT_ATTENTION_REGISTRATIONS_PREEMPTED" },
	{ STATUS_SVHDX_UNIT_ATTENTION_OPERATING_DEFINITION_CHANGED,
	  "STATUS_SVHDX_UNIT_ATTENTION_OPERATING_DEFINITION_CHANGED" },
	{ STATUS_SVHDX_RESERVATION_CONFLICT,
	  "STATUS_SVHDX_RESERVATION_CONFLICT" },
	{ STATUS_SVHDX_WRONG_FILE_TYPE, "STATUS_SVHDX_WRONG_FILE_TYPE" },
	{ STATUS_SVHDX_VERSION_MISMATCH, "STATUS_SVHDX_VERSION_MISMATCH" },
	{ STATUS_VHD_SHARED, "STATUS_VHD_SHARED" },
};

char *librsvd_status_string(TALLOC_CTX *mem_ctx, NTSTATUS status)
{
	uint8_t key;
	size_t i;

	if (librsvd_status_is_stored(status, &key)) {
		return talloc_asprintf(mem_ctx,
				       "STATUS_SVHDX_ERROR_STORED|%u", key);
	}
	for (i = 0; i < ARRAY_SIZE(librsvd_status_names); i++) {
		if (NT_STATUS_V(status) == librsvd_status_names[i].status) {
			return talloc_strdup(mem_ctx,
					     librsvd_status_names[i].name);
		}
	}
	return talloc_strdup(mem_ctx, nt_errstr(status));
}

/*
 * SCSI
 */

const char *librsvd_scsi_status_string(uint8_t scsi_status)
{
	switch (scsi_status) {
	case 0x00:
		return "GOOD";
	case 0x02:
		return "CHECK CONDITION";
	case 0x04:
		return "CONDITION MET";
	case 0x08:
		return "BUSY";
	case 0x18:
		return "RESERVATION CONFLICT";
	case 0x28:
		return "TASK SET FULL";
	case 0x30:
		return "ACA ACTIVE";
	case 0x40:
		return "TASK ABORTED";
	}
	return "unknown SCSI status";
}

static const char *const librsvd_sense_keys[16] = {
	"NO SENSE", "RECOVERED ERROR", "NOT READY", "MEDIUM ERROR",
	"HARDWARE ERROR", "ILLEGAL REQUEST", "UNIT ATTENTION", "DATA PROTECT",
	"BLANK CHECK", "VENDOR SPECIFIC", "COPY ABORTED", "ABORTED COMMAND",
	"reserved sense key", "VOLUME OVERFLOW", "MISCOMPARE", "COMPLETED",
};

/* Those that a disk of this kind has a use for; SPC-4 annex D. */
static const struct {
	uint8_t asc;
	uint8_t ascq;
	const char *text;
} librsvd_sense_codes[] = {
	{ 0x00, 0x00, "no additional sense" },
	{ 0x04, 0x00, "logical unit not ready" },
	{ 0x0C, 0x00, "write error" },
	{ 0x11, 0x00, "unrecovered read error" },
	{ 0x1A, 0x00, "parameter list length error" },
	{ 0x1D, 0x00, "miscompare during verify operation" },
	{ 0x20, 0x00, "invalid command operation code" },
	{ 0x21, 0x00, "logical block address out of range" },
	{ 0x24, 0x00, "invalid field in CDB" },
	{ 0x25, 0x00, "logical unit not supported" },
	{ 0x26, 0x00, "invalid field in parameter list" },
	{ 0x26, 0x04, "invalid release of persistent reservation" },
	{ 0x27, 0x00, "write protected" },
	{ 0x27, 0x07, "space allocation failed write protect" },
	{ 0x29, 0x00, "power on, reset, or bus device reset occurred" },
	{ 0x2A, 0x01, "mode parameters changed" },
	{ 0x2A, 0x03, "reservations preempted" },
	{ 0x2A, 0x04, "reservations released" },
	{ 0x2A, 0x05, "registrations preempted" },
	{ 0x2A, 0x09, "capacity data has changed" },
	{ 0x2C, 0x00, "command sequence error" },
	{ 0x2F, 0x00, "commands cleared by another initiator" },
	{ 0x31, 0x00, "medium format corrupted" },
	{ 0x38, 0x07, "thin provisioning soft threshold reached" },
	{ 0x39, 0x00, "saving parameters not supported" },
	{ 0x3A, 0x00, "medium not present" },
	{ 0x3E, 0x01, "logical unit failure" },
	{ 0x3F, 0x0E, "reported LUNs data has changed" },
	{ 0x44, 0x00, "internal target failure" },
	{ 0x47, 0x03, "information unit CRC error detected" },
	{ 0x55, 0x04, "insufficient registration resources" },
};

static const char *librsvd_sense_code_string(uint8_t asc, uint8_t ascq)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(librsvd_sense_codes); i++) {
		if (librsvd_sense_codes[i].asc == asc &&
		    librsvd_sense_codes[i].ascq == ascq) {
			return librsvd_sense_codes[i].text;
		}
	}
	return "additional sense";
}

char *librsvd_sense_string(TALLOC_CTX *mem_ctx, const uint8_t *sense,
			   size_t length)
{
	uint8_t key, asc = 0, ascq = 0;

	if (length < 3) {
		return talloc_strdup(mem_ctx, "no sense data");
	}

	switch (sense[0] & 0x7F) {
	case 0x70:
	case 0x71:
		key = sense[2] & 0x0F;
		if (length >= 14) {
			asc = sense[12];
			ascq = sense[13];
		}
		break;
	case 0x72:
	case 0x73:
		key = sense[1] & 0x0F;
		asc = sense[2];
		ascq = length > 3 ? sense[3] : 0;
		break;
	default:
		return talloc_asprintf(mem_ctx,
				       "sense of unknown format 0x%02x",
				       sense[0]);
	}

	return talloc_asprintf(mem_ctx, "%s, %s (%02X/%02X/%02X)",
			       librsvd_sense_keys[key],
			       librsvd_sense_code_string(asc, ascq),
			       key, asc, ascq);
}
