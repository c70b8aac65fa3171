/*
 * vfs_rsvd: the stored forms of what is known about one disk
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/debug.h"
#include "librpc/ndr/libndr.h"
#include "librpc/gen_ndr/ndr_misc.h"
#include "librpc/gen_ndr/ndr_rsvd_disk.h"
#include "modules/rsvd/rsvd_record.h"
#include "modules/scsi/scsi.h"

struct rsvd_disk_record *rsvd_record_init(TALLOC_CTX *mem_ctx)
{
	struct rsvd_disk_record *record = NULL;

	record = talloc_zero(mem_ctx, struct rsvd_disk_record);
	if (record == NULL) {
		return NULL;
	}
	record->version = RSVD_DISK_RECORD_VERSION;

	record->scsi = scsi_state_init(record);
	if (record->scsi == NULL) {
		TALLOC_FREE(record);
		return NULL;
	}

	return record;
}

NTSTATUS rsvd_record_pull(TALLOC_CTX *mem_ctx, DATA_BLOB blob,
			  struct rsvd_disk_record **_record)
{
	struct rsvd_disk_record *record = NULL;
	enum ndr_err_code ndr_err;

	record = talloc_zero(mem_ctx, struct rsvd_disk_record);
	if (record == NULL) {
		return NT_STATUS_NO_MEMORY;
	}

	ndr_err = ndr_pull_struct_blob_all(
		&blob, record, record,
		(ndr_pull_flags_fn_t)ndr_pull_rsvd_disk_record);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err) ||
	    record->version != RSVD_DISK_RECORD_VERSION ||
	    record->scsi == NULL)
	{
		DBG_ERR("Disk record of %zu bytes, version %"PRIu32", "
			"is not one of ours: %s\n",
			blob.length,
			record->version,
			ndr_errstr(ndr_err));
		TALLOC_FREE(record);
		return NT_STATUS_INTERNAL_DB_CORRUPTION;
	}

	*_record = record;
	return NT_STATUS_OK;
}

NTSTATUS rsvd_record_push(TALLOC_CTX *mem_ctx,
			  const struct rsvd_disk_record *record,
			  DATA_BLOB *blob)
{
	enum ndr_err_code ndr_err;

	ndr_err = ndr_push_struct_blob(
		blob, mem_ctx, record,
		(ndr_push_flags_fn_t)ndr_push_rsvd_disk_record);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		DBG_ERR("ndr_push_rsvd_disk_record failed: %s\n",
			ndr_errstr(ndr_err));
		return ndr_map_error2ntstatus(ndr_err);
	}

	return NT_STATUS_OK;
}

static uint8_t rsvd_record_default_mode(void)
{
	struct scsi_state *state = scsi_state_init(NULL);
	uint8_t mode = 0;

	if (state != NULL) {
		mode = state->mode;
	}
	TALLOC_FREE(state);
	return mode;
}

bool rsvd_record_is_empty(const struct rsvd_disk_record *record)
{
	const struct scsi_state *scsi = record->scsi;

	/*
	 * PRgeneration counts on until the device is reset (SPC-4 5.13.8),
	 * and mode parameters are those of the device: both stay when all
	 * initiators are gone.
	 */
	return (record->num_opens == 0) &&
	       (scsi->num_nexuses == 0) &&
	       (scsi->pr_generation == 0) &&
	       (scsi->sanitize == SCSI_SANITIZE_NONE) &&
	       (scsi->mode == rsvd_record_default_mode());
}

NTSTATUS rsvd_reservations_push(TALLOC_CTX *mem_ctx,
				const struct scsi_state *state,
				const struct GUID *boot_id, DATA_BLOB *blob)
{
	struct scsi_state durable = *state;
	struct rsvd_disk_reservations reservations = {
		.version = RSVD_DISK_RECORD_VERSION,
		.scsi = &durable,
	};
	enum ndr_err_code ndr_err;
	uint32_t i;

	if (boot_id != NULL) {
		reservations.boot_id = *boot_id;
	}

	durable.num_nexuses = 0;
	durable.nexuses = talloc_array(mem_ctx, struct scsi_nexus_state,
				       state->num_nexuses);
	if (durable.nexuses == NULL) {
		return NT_STATUS_NO_MEMORY;
	}

	for (i = 0; i < state->num_nexuses; i++) {
		struct scsi_nexus_state *nexus =
			&durable.nexuses[durable.num_nexuses];

		if (state->nexuses[i].key == 0) {
			continue;
		}
		*nexus = state->nexuses[i];
		nexus->num_opens = 0;
		nexus->unit_attentions = 0;
		durable.num_nexuses += 1;
	}

	/* A legacy reservation ends with its nexus: SPC-2 5.5.1 */
	durable.reserved = false;
	ZERO_STRUCT(durable.reserve_holder);
	/* We tell of no saved mode parameters. */
	durable.mode = rsvd_record_default_mode();

	/* Who reads it will know nothing of who runs one. */
	scsi_state_process_died(&durable);

	if ((durable.num_nexuses == 0) &&
	    (durable.sanitize == SCSI_SANITIZE_NONE))
	{
		TALLOC_FREE(durable.nexuses);
		*blob = data_blob_null;
		return NT_STATUS_OK;
	}

	ndr_err = ndr_push_struct_blob(
		blob, mem_ctx, &reservations,
		(ndr_push_flags_fn_t)ndr_push_rsvd_disk_reservations);
	TALLOC_FREE(durable.nexuses);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		return ndr_map_error2ntstatus(ndr_err);
	}

	return NT_STATUS_OK;
}

NTSTATUS rsvd_reservations_pull(TALLOC_CTX *mem_ctx, DATA_BLOB blob,
				const struct GUID *boot_id,
				struct scsi_state **state)
{
	struct rsvd_disk_reservations *reservations = NULL;
	enum ndr_err_code ndr_err;

	reservations = talloc_zero(mem_ctx, struct rsvd_disk_reservations);
	if (reservations == NULL) {
		return NT_STATUS_NO_MEMORY;
	}

	ndr_err = ndr_pull_struct_blob_all(
		&blob, reservations, reservations,
		(ndr_pull_flags_fn_t)ndr_pull_rsvd_disk_reservations);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err) ||
	    reservations->version != RSVD_DISK_RECORD_VERSION ||
	    reservations->scsi == NULL)
	{
		DBG_ERR("Reservations of %zu bytes, version %"PRIu32", "
			"are not ours: %s\n",
			blob.length,
			reservations->version,
			ndr_errstr(ndr_err));
		TALLOC_FREE(reservations);
		return NT_STATUS_INTERNAL_DB_CORRUPTION;
	}

	if ((boot_id != NULL) &&
	    !GUID_equal(&reservations->boot_id, boot_id))
	{
		scsi_state_power_on(reservations->scsi);
	}

	*state = talloc_move(mem_ctx, &reservations->scsi);
	TALLOC_FREE(reservations);
	return NT_STATUS_OK;
}
