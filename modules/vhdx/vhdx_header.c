/*
 * vfs_rsvd: the file identifier and the two headers (MS-VHDX 2.2.1, 2.2.2)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"

static const char *const header_names[2] = { "header 1", "header 2" };

NTSTATUS vhdx_file_identifier_load(struct vhdx *image,
				   struct vhdx_findings *findings)
{
	uint8_t buf[8];
	NTSTATUS status;

	status = vhdx_file_read(image->storage, buf, sizeof(buf),
				VHDX_FILE_IDENTIFIER_OFFSET);
	if (NT_STATUS_EQUAL(status, NT_STATUS_END_OF_FILE) ||
	    (NT_STATUS_IS_OK(status) &&
	     PULL_LE_U64(buf, 0) != VHDX_FILE_SIGNATURE)) {
		vhdx_find(findings, true, "file identifier", "Signature",
			  "must be \"vhdxfile\"");
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	return status;
}

static struct vhdx_header header_pull(const uint8_t buf[VHDX_HEADER_SIZE])
{
	return (struct vhdx_header) {
		.sequence_number = PULL_LE_U64(buf,
					       VHDX_HEADER_SEQUENCE_NUMBER),
		.file_write_guid = vhdx_guid_pull(
			buf + VHDX_HEADER_FILE_WRITE_GUID),
		.data_write_guid = vhdx_guid_pull(
			buf + VHDX_HEADER_DATA_WRITE_GUID),
		.log_guid = vhdx_guid_pull(buf + VHDX_HEADER_LOG_GUID),
		.log_version = PULL_LE_U16(buf, VHDX_HEADER_LOG_VERSION),
		.version = PULL_LE_U16(buf, VHDX_HEADER_VERSION),
		.log_length = PULL_LE_U32(buf, VHDX_HEADER_LOG_LENGTH),
		.log_offset = PULL_LE_U64(buf, VHDX_HEADER_LOG_OFFSET),
	};
}

void vhdx_header_push(uint8_t buf[VHDX_HEADER_SIZE],
		      const struct vhdx_header *header)
{
	memset(buf, 0, VHDX_HEADER_SIZE);
	PUSH_LE_U32(buf, 0, VHDX_HEADER_SIGNATURE);
	PUSH_LE_U64(buf, VHDX_HEADER_SEQUENCE_NUMBER,
		    header->sequence_number);
	vhdx_guid_push(buf + VHDX_HEADER_FILE_WRITE_GUID,
		       &header->file_write_guid);
	vhdx_guid_push(buf + VHDX_HEADER_DATA_WRITE_GUID,
		       &header->data_write_guid);
	vhdx_guid_push(buf + VHDX_HEADER_LOG_GUID, &header->log_guid);
	PUSH_LE_U16(buf, VHDX_HEADER_LOG_VERSION, header->log_version);
	PUSH_LE_U16(buf, VHDX_HEADER_VERSION, header->version);
	PUSH_LE_U32(buf, VHDX_HEADER_LOG_LENGTH, header->log_length);
	PUSH_LE_U64(buf, VHDX_HEADER_LOG_OFFSET, header->log_offset);
	vhdx_checksum_push(buf, VHDX_HEADER_SIZE, VHDX_HEADER_CHECKSUM);
}

/* Why a copy is not valid, NULL when it is */
static const char *header_fault(const uint8_t buf[VHDX_HEADER_SIZE],
				const char **field)
{
	*field = "Signature";
	if (PULL_LE_U32(buf, 0) != VHDX_HEADER_SIGNATURE) {
		return "must be \"head\"";
	}
	*field = "Checksum";
	if (PULL_LE_U32(buf, VHDX_HEADER_CHECKSUM) !=
	    vhdx_checksum(buf, VHDX_HEADER_SIZE, VHDX_HEADER_CHECKSUM)) {
		return "must be the CRC-32C of the header";
	}
	return NULL;
}

/*
 * The copy that counts. Equal sequence numbers do not say which; there are
 * tools (Disk2VHD) that write the same header twice, and with that there is
 * no choice to be made.
 */
static NTSTATUS header_choose(struct vhdx *image,
			      uint8_t bufs[2][VHDX_HEADER_SIZE],
			      struct vhdx_findings *findings)
{
	const char *faults[2];
	const char *fields[2];
	uint64_t sequence[2];
	unsigned i;

	for (i = 0; i < 2; i++) {
		faults[i] = header_fault(bufs[i], &fields[i]);
		sequence[i] = PULL_LE_U64(bufs[i],
					  VHDX_HEADER_SEQUENCE_NUMBER);
	}
	for (i = 0; i < 2; i++) {
		bool both = faults[0] != NULL && faults[1] != NULL;

		if (faults[i] != NULL) {
			/* One bad copy is what there are two for. */
			vhdx_find(findings, both, header_names[i], fields[i],
				  "%s", faults[i]);
		}
	}
	if (faults[0] != NULL && faults[1] != NULL) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	if (faults[0] != NULL || faults[1] != NULL) {
		image->header_copy = (faults[0] == NULL) ? 0 : 1;
		return NT_STATUS_OK;
	}
	if (sequence[0] == sequence[1] &&
	    memcmp(bufs[0], bufs[1], VHDX_HEADER_SIZE) != 0) {
		vhdx_find(findings, true, "headers", "SequenceNumber",
			  "must differ: neither header is the current one");
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	image->header_copy = (sequence[1] > sequence[0]) ? 1 : 0;
	return NT_STATUS_OK;
}

static void header_check(struct vhdx *image, struct vhdx_findings *findings)
{
	const struct vhdx_header *h = &image->header;
	const char *name = header_names[image->header_copy];
	uint64_t end = h->log_offset + h->log_length;

	if (h->version != 1) {
		vhdx_find(findings, true, name, "Version", "must be 1, is %u",
			  h->version);
	}
	if (h->log_version != 0 && !GUID_all_zero(&h->log_guid)) {
		vhdx_find(findings, true, name, "LogVersion",
			  "must be 0 when there is a log, is %u",
			  h->log_version);
	}
	if (h->log_length == 0 || h->log_length % VHDX_ALIGNMENT != 0) {
		vhdx_find(findings, true, name, "LogLength",
			  "must be a multiple of 1 MiB, more than 0, is %u",
			  h->log_length);
	}
	if (h->log_offset % VHDX_ALIGNMENT != 0) {
		vhdx_find(findings, true, name, "LogOffset",
			  "must be a multiple of 1 MiB, is %" PRIu64,
			  h->log_offset);
	}
	if (h->log_offset < VHDX_HEADER_SECTION_SIZE) {
		vhdx_find(findings, true, name, "LogOffset",
			  "must be behind the header section, is %" PRIu64,
			  h->log_offset);
	}
	if (end < h->log_offset || end > image->file_size) {
		vhdx_find(findings, true, name, "LogOffset",
			  "the log must be inside the file");
	}
}

NTSTATUS vhdx_header_load(struct vhdx *image, struct vhdx_findings *findings)
{
	uint8_t bufs[2][VHDX_HEADER_SIZE];
	size_t num_errors = findings->num_errors;
	NTSTATUS status;
	unsigned i;

	for (i = 0; i < 2; i++) {
		status = vhdx_file_read(image->storage, bufs[i],
					VHDX_HEADER_SIZE,
					VHDX_HEADER_OFFSET(i));
		if (NT_STATUS_EQUAL(status, NT_STATUS_END_OF_FILE)) {
			vhdx_find(findings, true, header_names[i], "Signature",
				  "the file ends before it");
			return NT_STATUS_FILE_CORRUPT_ERROR;
		}
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}

	status = header_choose(image, bufs, findings);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	image->header = header_pull(bufs[image->header_copy]);
	header_check(image, findings);
	if (findings->num_errors > num_errors) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	image->log = (struct vhdx_range) {
		.offset = image->header.log_offset,
		.length = image->header.log_length,
		.name = "log",
	};
	return NT_STATUS_OK;
}

bool vhdx_header_bad_copy(struct vhdx *image, unsigned *copy)
{
	uint8_t buf[VHDX_HEADER_SIZE];
	const char *field = NULL;
	bool valid[2];
	NTSTATUS status;
	unsigned i;

	for (i = 0; i < 2; i++) {
		status = vhdx_file_read(image->storage, buf, sizeof(buf),
					VHDX_HEADER_OFFSET(i));
		if (!NT_STATUS_IS_OK(status)) {
			return false;
		}
		valid[i] = header_fault(buf, &field) == NULL;
	}
	*copy = valid[0] ? 1 : 0;
	return valid[0] != valid[1];
}

NTSTATUS vhdx_header_write(struct vhdx *image, struct vhdx_state *state)
{
	uint8_t buf[VHDX_HEADER_SIZE];
	struct vhdx_header header = {
		.sequence_number = state->header_sequence + 1,
		.file_write_guid = state->file_write_guid,
		.data_write_guid = state->data_write_guid,
		.log_guid = state->log_guid,
		.log_version = 0,
		.version = 1,
		.log_length = image->header.log_length,
		.log_offset = image->header.log_offset,
	};
	NTSTATUS status;

	vhdx_header_push(buf, &header);
	status = vhdx_file_write(image->storage, buf, sizeof(buf),
				 VHDX_HEADER_OFFSET(1 - state->header_copy));
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	state->header_sequence += 1;
	return NT_STATUS_OK;
}

NTSTATUS vhdx_header_write_both(struct vhdx *image, struct vhdx_state *state)
{
	unsigned i;

	for (i = 0; i < 2; i++) {
		NTSTATUS status = vhdx_header_write(image, state);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		status = vhdx_file_flush(image->storage);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		state->header_copy = 1 - state->header_copy;
	}
	return NT_STATUS_OK;
}
