/*
 * vfs_rsvd: one open of a shared virtual disk
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/charset/charset.h"
#include "lib/util/debug.h"
#include "librpc/ndr/libndr.h"
#include "librpc/gen_ndr/ndr_misc.h"
#include "librpc/gen_ndr/ndr_rsvd.h"
#include "modules/rsvd/rsvd_private.h"

/* Sense data of a request without an InitiatorId: MS-RSVD 6 <12>, <14> */
static const uint8_t rsvd_sense_no_initiator[RSVD_SCSI_SENSE_BUFFER_SIZE] = {
	0xF0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0A,
};

/*
 * The name is shown to people, in logs and on terminals: a control character
 * (C0, DEL and C1, which UTF-8 has as 0xC2 and one more byte) could be the
 * beginning of an order to these.
 */
static void rsvd_open_make_printable(char *name)
{
	uint8_t *p = NULL;

	for (p = (uint8_t *)name; *p != '\0'; p++) {
		if ((*p < 0x20) || (*p == 0x7F)) {
			*p = '?';
		} else if ((p[0] == 0xC2) && (p[1] >= 0x80) && (p[1] < 0xA0)) {
			p[0] = '?';
			p[1] = '?';
		}
	}
}

static NTSTATUS rsvd_open_context_check_name(struct rsvd_open_context *context)
{
	const struct svhdx_open_device_context *wire = &context->wire.v1;
	char *name = NULL;
	char *shown = NULL;
	size_t length = 0;

	if (wire->initiator_host_name_length > RSVD_MAXIMUM_NAME_LENGTH) {
		DBG_NOTICE("InitiatorHostNameLength %"PRIu16" is too large\n",
			   wire->initiator_host_name_length);
		return NT_STATUS_INVALID_PARAMETER;
	}

	context->host_name = "";
	if (wire->initiator_host_name_length == 0) {
		return NT_STATUS_OK;
	}

	if (!convert_string_talloc(context, CH_UTF16LE, CH_UTF8,
				   wire->initiator_host_name,
				   wire->initiator_host_name_length,
				   &name, &length))
	{
		/* It is for people to read. An initiator does not need it. */
		DBG_NOTICE("InitiatorHostName is not UTF-16\n");
		return NT_STATUS_OK;
	}

	/* What follows a NUL is not shown, and not kept. */
	shown = talloc_strndup(context, name, length);
	TALLOC_FREE(name);
	if (shown == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	rsvd_open_make_printable(shown);
	context->host_name = shown;

	return NT_STATUS_OK;
}

static NTSTATUS rsvd_open_context_pull(struct rsvd_open_context *context,
				       uint32_t server_version,
				       const DATA_BLOB *blob)
{
	enum ndr_err_code ndr_err;

	/* Version 2 of the structure begins as version 1 does. */
	if (blob->length < SVHDX_OPEN_DEVICE_CONTEXT_SIZE) {
		return NT_STATUS_BUFFER_TOO_SMALL;
	}
	ndr_err = ndr_pull_struct_blob(
		blob, context, &context->wire.v1,
		(ndr_pull_flags_fn_t)ndr_pull_svhdx_open_device_context);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		return ndr_map_error2ntstatus(ndr_err);
	}

	context->version = context->wire.v1.version;
	if (context->version == RSVD_ECP_CONTEXT_VERSION_1) {
		return NT_STATUS_OK;
	}

	if ((context->version != RSVD_ECP_CONTEXT_VERSION_2) ||
	    (server_version < RSVD_PROTOCOL_VERSION_2))
	{
		DBG_NOTICE("Create context of version %"PRIu32"\n",
			   context->version);
		return NT_STATUS_INVALID_PARAMETER;
	}

	if (blob->length < SVHDX_OPEN_DEVICE_CONTEXT_V2_SIZE) {
		return NT_STATUS_BUFFER_TOO_SMALL;
	}
	ndr_err = ndr_pull_struct_blob(
		blob, context, &context->wire,
		(ndr_pull_flags_fn_t)ndr_pull_svhdx_open_device_context_v2);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		return ndr_map_error2ntstatus(ndr_err);
	}

	return NT_STATUS_OK;
}

NTSTATUS rsvd_open_context_parse(TALLOC_CTX *mem_ctx, uint32_t server_version,
				 const DATA_BLOB *blob,
				 struct rsvd_open_context **_context)
{
	struct rsvd_open_context *context = NULL;
	const struct svhdx_open_device_context *wire = NULL;
	NTSTATUS status;

	context = talloc_zero(mem_ctx, struct rsvd_open_context);
	if (context == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	wire = &context->wire.v1;

	status = rsvd_open_context_pull(context, server_version, blob);
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(context);
		return status;
	}

	if (wire->has_initiator_id > 1) {
		DBG_NOTICE("HasInitiatorId is %"PRIu8"\n",
			   wire->has_initiator_id);
		TALLOC_FREE(context);
		return NT_STATUS_INVALID_PARAMETER;
	}
	if (wire->has_initiator_id == 1) {
		context->initiator_id = wire->initiator_id;
	}

	status = rsvd_open_context_check_name(context);
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(context);
		return status;
	}

	context->originator = wire->originator_flags;
	context->open_request_id = wire->open_request_id;
	context->raw = (context->originator == SVHDX_ORIGINATOR_VHDMP) ||
		       (context->originator == SVHDX_ORIGINATOR_8);

	*_context = context;
	return NT_STATUS_OK;
}

static bool rsvd_file_name_is_vhd_set(const char *file_name)
{
	const char *dot = strrchr(file_name, '.');

	return (dot != NULL) && (strcasecmp_m(dot, ".vhds") == 0);
}

struct rsvd_open *rsvd_open_init(TALLOC_CTX *mem_ctx,
				 const struct rsvd_open_params *params)
{
	struct rsvd_open *open = NULL;

	open = talloc_zero(mem_ctx, struct rsvd_open);
	if (open == NULL) {
		return NULL;
	}

	open->server_version = params->server_version;
	open->context = *params->context;
	open->context.host_name = talloc_strdup(open,
						params->context->host_name);
	if (open->context.host_name == NULL) {
		TALLOC_FREE(open);
		return NULL;
	}
	open->create_options = params->create_options;
	open->may_read = params->may_read;
	open->may_write = params->may_write;
	open->is_virtual_scsi_disk = !open->context.raw;
	open->is_vhd_set = rsvd_file_name_is_vhd_set(params->file_name);

	open->disk = params->disk;
	open->image = params->image;
	open->storage = params->storage;
	open->lock_db = params->lock_db;

	if (open->image != NULL) {
		rsvd_scsi_disk_init(open);
	}

	return open;
}

NTSTATUS rsvd_open_response(struct rsvd_open *open, TALLOC_CTX *mem_ctx,
			    DATA_BLOB *blob)
{
	struct svhdx_open_device_context_v2 wire = open->context.wire;
	enum ndr_err_code ndr_err;

	if (open->context.version == RSVD_ECP_CONTEXT_VERSION_1) {
		ndr_err = ndr_push_struct_blob(
			blob, mem_ctx, &wire.v1,
			(ndr_push_flags_fn_t)
			ndr_push_svhdx_open_device_context);
		return ndr_map_error2ntstatus(ndr_err);
	}

	wire.server_service_version = open->server_version;
	wire.virtual_disk_properties_initialized = 0;
	wire.virtual_sector_size = 0;
	wire.physical_sector_size = 0;
	wire.virtual_size = 0;

	if (open->image != NULL) {
		const struct vhdx_geometry *g = vhdx_geometry(open->image);

		wire.virtual_disk_properties_initialized = 1;
		wire.virtual_sector_size = g->logical_sector_size;
		wire.physical_sector_size = g->physical_sector_size;
		wire.virtual_size = g->virtual_size;
	}

	ndr_err = ndr_push_struct_blob(
		blob, mem_ctx, &wire,
		(ndr_push_flags_fn_t)ndr_push_svhdx_open_device_context_v2);
	return ndr_map_error2ntstatus(ndr_err);
}

bool rsvd_open_is_virtual_scsi_disk(const struct rsvd_open *open)
{
	return open->is_virtual_scsi_disk;
}

bool rsvd_open_has_initiator(const struct rsvd_open *open)
{
	return !GUID_all_zero(&open->context.initiator_id);
}

static NTSTATUS rsvd_open_store_sense(
	struct rsvd_open *open, uint8_t srb_status,
	const uint8_t sense[RSVD_SCSI_SENSE_BUFFER_SIZE])
{
	struct rsvd_sense_error *error = NULL;

	/* 0xFF is followed by 0x00. */
	open->sense_error_sequence += 1;

	error = &open->sense_errors[open->sense_error_sequence];
	*error = (struct rsvd_sense_error) {
		.stored = true,
		.srb_status = srb_status,
		.scsi_status = SCSI_STATUS_CHECK_CONDITION,
	};
	memcpy(error->sense, sense, sizeof(error->sense));

	return NT_STATUS_SVHDX_ERROR_STORED_KEY(open->sense_error_sequence);
}

/* Sense data that comes from the SCSI disk. */
static NTSTATUS rsvd_open_store_autosense(
	struct rsvd_open *open,
	const uint8_t sense[RSVD_SCSI_SENSE_BUFFER_SIZE])
{
	return rsvd_open_store_sense(
		open,
		RSVD_SRB_STATUS_ERROR | RSVD_SRB_STATUS_AUTOSENSE_VALID,
		sense);
}

NTSTATUS rsvd_open_store_error(struct rsvd_open *open, bool is_write,
			       NTSTATUS error)
{
	uint8_t sense[RSVD_SCSI_SENSE_BUFFER_SIZE] = {0};

	if (!open->is_virtual_scsi_disk) {
		return error;
	}
	if (NT_STATUS_IS_SVHDX(error)) {
		return error;
	}

	scsi_sense_io_error(rsvd_disk_scsi_state(open->disk, NULL), error,
			    is_write, sense);
	return rsvd_open_store_autosense(open, sense);
}

/* MS-RSVD 2.2.3 has a status for these; others come as sense. */
static const struct {
	uint32_t ua;
	uint32_t status;
} rsvd_unit_attentions[] = {
	{ SCSI_UA_CAPACITY_DATA_CHANGED,
	  STATUS_SVHDX_UNIT_ATTENTION_CAPACITY_DATA_CHANGED },
	{ SCSI_UA_RESERVATIONS_PREEMPTED,
	  STATUS_SVHDX_UNIT_ATTENTION_RESERVATIONS_PREEMPTED },
	{ SCSI_UA_RESERVATIONS_RELEASED,
	  STATUS_SVHDX_UNIT_ATTENTION_RESERVATIONS_RELEASED },
	{ SCSI_UA_REGISTRATIONS_PREEMPTED,
	  STATUS_SVHDX_UNIT_ATTENTION_REGISTRATIONS_PREEMPTED },
	{ SCSI_UA_OPERATING_DEFINITION_CHANGED,
	  STATUS_SVHDX_UNIT_ATTENTION_OPERATING_DEFINITION_CHANGED },
};

static NTSTATUS rsvd_open_report_unit_attention(struct rsvd_open *open,
						bool *reported)
{
	uint8_t sense[RSVD_SCSI_SENSE_BUFFER_SIZE] = {0};
	uint32_t ua = 0;
	NTSTATUS status;
	size_t i;

	*reported = false;

	status = scsi_take_unit_attention(&open->scsi_disk,
					  &open->context.initiator_id,
					  &ua, sense);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (ua == 0) {
		/* Another handle of the same initiator took it. */
		return NT_STATUS_OK;
	}

	*reported = true;
	for (i = 0; i < ARRAY_SIZE(rsvd_unit_attentions); i++) {
		if (rsvd_unit_attentions[i].ua == ua) {
			return NT_STATUS(rsvd_unit_attentions[i].status);
		}
	}
	return rsvd_open_store_autosense(open, sense);
}

static NTSTATUS rsvd_open_verdict(struct rsvd_open *open, bool is_write,
				  enum scsi_io_verdict *verdict)
{
	const struct scsi_state *state = NULL;
	uint64_t generation = 0;

	state = rsvd_disk_scsi_state(open->disk, &generation);
	if (state == NULL) {
		return NT_STATUS_INTERNAL_DB_CORRUPTION;
	}

	if (!open->verdict_valid || (open->verdict_generation != generation)) {
		open->verdict_read = scsi_check_io(
			state, &open->context.initiator_id, false);
		open->verdict_write = scsi_check_io(
			state, &open->context.initiator_id, true);
		open->verdict_generation = generation;
		open->verdict_valid = true;
	}

	*verdict = is_write ? open->verdict_write : open->verdict_read;
	return NT_STATUS_OK;
}

static NTSTATUS rsvd_open_check_scsi_io(struct rsvd_open *open, bool is_write)
{
	uint8_t sense[RSVD_SCSI_SENSE_BUFFER_SIZE] = {0};
	enum scsi_io_verdict verdict;
	NTSTATUS status;

	/*
	 * Each round but the last finds a unit attention that another handle
	 * of this initiator has just reported.
	 */
	while (true) {
		bool reported = false;

		status = rsvd_open_verdict(open, is_write, &verdict);
		if (!NT_STATUS_IS_OK(status)) {
			return rsvd_open_store_error(open, is_write, status);
		}
		if (verdict != SCSI_IO_UNIT_ATTENTION) {
			break;
		}

		status = rsvd_open_report_unit_attention(open, &reported);
		if (reported) {
			return status;
		}
		if (!NT_STATUS_IS_OK(status)) {
			return rsvd_open_store_error(open, is_write, status);
		}
	}

	switch (verdict) {
	case SCSI_IO_ALLOWED:
		return NT_STATUS_OK;
	case SCSI_IO_WRITE_PROTECTED:
		scsi_sense_write_protected(
			rsvd_disk_scsi_state(open->disk, NULL), sense);
		return rsvd_open_store_autosense(open, sense);
	case SCSI_IO_SANITIZE:
		scsi_sense_sanitize(rsvd_disk_scsi_state(open->disk, NULL),
				    sense);
		return rsvd_open_store_autosense(open, sense);
	case SCSI_IO_CONFLICT:
	default:
		return NT_STATUS_SVHDX_RESERVATION_CONFLICT;
	}
}

NTSTATUS rsvd_open_check_io(struct rsvd_open *open, bool is_write)
{
	if (open->is_virtual_scsi_disk && !rsvd_open_has_initiator(open)) {
		return rsvd_open_store_sense(open, RSVD_SRB_STATUS_ABORTED,
					     rsvd_sense_no_initiator);
	}

	if (!(open->create_options & RSVD_FILE_NO_INTERMEDIATE_BUFFERING)) {
		return NT_STATUS_NOT_SUPPORTED;
	}

	if (is_write ? !open->may_write : !open->may_read) {
		return NT_STATUS_ACCESS_DENIED;
	}

	if (!open->is_virtual_scsi_disk) {
		return NT_STATUS_OK;
	}

	return rsvd_open_check_scsi_io(open, is_write);
}

bool rsvd_open_write_through(struct rsvd_open *open)
{
	const struct scsi_state *state = NULL;

	if (!open->is_virtual_scsi_disk) {
		return false;
	}

	state = rsvd_disk_scsi_state(open->disk, NULL);
	/* When in doubt, the slow way loses nothing. */
	return (state == NULL) || scsi_write_through(state);
}
