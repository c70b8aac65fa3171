/*
 * vfs_rsvd: meta-operations
 *
 * What each of them asks for is checked as the text has it. Snapshots need a
 * VHD set, which is not served yet; that is said in the header of the
 * response, where the virtual disk says that it cannot.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/charset/charset.h"
#include "lib/util/debug.h"
#include "modules/rsvd/rsvd_tunnel_private.h"

static bool rsvd_meta_snapshot_type_is_valid(enum svhdx_snapshot_type type)
{
	switch (type) {
	case SvhdxSnapshotTypeVM:
	case SvhdxSnapshotTypeCDP:
	case SvhdxSnapshotTypeWriteable:
		return true;
	default:
		return false;
	}
}

/*
 * A name with its length in bytes, which counts the terminator. Windows
 * checks it since CVE-2022-26783 (MS-RSVD 6 <22>, <23>).
 */
static NTSTATUS rsvd_meta_pull_name(struct rsvd_tunnel_request *req,
				    DATA_BLOB blob, uint32_t length,
				    char **_name)
{
	char *name = NULL;
	size_t name_length = 0;
	size_t i;

	if (blob.length < length) {
		return NT_STATUS_BUFFER_TOO_SMALL;
	}
	if ((length < 2 * sizeof(uint16_t)) || (length % 2 != 0)) {
		return NT_STATUS_INVALID_PARAMETER;
	}

	/* The one terminator is at the end. */
	for (i = 0; i < length; i += 2) {
		bool is_nul = (blob.data[i] == 0) && (blob.data[i + 1] == 0);

		if (is_nul != (i == length - 2)) {
			return NT_STATUS_INVALID_PARAMETER;
		}
	}

	if (!convert_string_talloc(req->mem_ctx, CH_UTF16LE, CH_UTF8,
				   blob.data, length, &name, &name_length))
	{
		return NT_STATUS_INVALID_PARAMETER;
	}

	*_name = name;
	return NT_STATUS_OK;
}

/* Stage1 to Stage6: what there is comes first, and in order. */
static NTSTATUS rsvd_meta_check_stages(
	const struct svhdx_meta_operation_create_snapshot *snapshot)
{
	size_t i;

	if ((snapshot->stage[0] == SvhdxSnapshotStageInvalid) ||
	    (snapshot->stage[0] > SvhdxSnapshotStageFinalize))
	{
		return NT_STATUS_INVALID_PARAMETER_2;
	}

	if (snapshot->flags != 0) {
		if ((snapshot->snapshot_type != SvhdxSnapshotTypeVM) ||
		    (snapshot->flags !=
		     SVHDX_SNAPSHOT_DISK_FLAG_ENABLE_CHANGE_TRACKING) ||
		    (snapshot->stage[0] != SvhdxSnapshotStageInitialize))
		{
			return NT_STATUS_INVALID_PARAMETER_5;
		}
	}

	for (i = 1; i < ARRAY_SIZE(snapshot->stage); i++) {
		enum svhdx_snapshot_stage previous = snapshot->stage[i - 1];
		enum svhdx_snapshot_stage stage = snapshot->stage[i];

		if (stage == SvhdxSnapshotStageInvalid) {
			continue;
		}
		if ((stage <= previous) ||
		    (stage > SvhdxSnapshotStageFinalize))
		{
			return NT_STATUS_INVALID_PARAMETER_4;
		}
		if (previous == SvhdxSnapshotStageInvalid) {
			return NT_STATUS_INVALID_PARAMETER_3;
		}
	}

	return NT_STATUS_OK;
}

/* MS-RSVD 3.2.5.5.7.1 */
static NTSTATUS rsvd_meta_create_snapshot(struct rsvd_tunnel_request *req,
					  const DATA_BLOB *data)
{
	struct svhdx_meta_operation_create_snapshot snapshot;
	struct svhdx_meta_operation_create_cdp_parameter cdp;
	struct svhdx_meta_operation_reply reply = {
		.change_tracking_error_status =
			SVHDX_TUNNEL_CHANGE_TRACKING_NOT_INITIALIZED,
	};
	NTSTATUS status;

	status = rsvd_tunnel_pull(req, data,
				  svhdx_meta_operation_create_snapshot,
				  &snapshot);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (snapshot.parameters.length < snapshot.parameters_payload_size) {
		return NT_STATUS_BUFFER_TOO_SMALL;
	}

	if (!rsvd_meta_snapshot_type_is_valid(snapshot.snapshot_type)) {
		return NT_STATUS_INVALID_PARAMETER_1;
	}

	status = rsvd_meta_check_stages(&snapshot);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	if ((snapshot.snapshot_type == SvhdxSnapshotTypeCDP) &&
	    (snapshot.parameters.length != 0))
	{
		status = rsvd_tunnel_pull(
			req, &snapshot.parameters,
			svhdx_meta_operation_create_cdp_parameter, &cdp);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (cdp.log_file_name_length != 0) {
			return NT_STATUS_INVALID_PARAMETER_6;
		}
	}

	if (!req->open->is_vhd_set) {
		return NT_STATUS_INVALID_DEVICE_REQUEST;
	}

	if (snapshot.snapshot_type != SvhdxSnapshotTypeCDP) {
		return rsvd_tunnel_reply_status(req, NT_STATUS_NOT_SUPPORTED);
	}

	if (req->max_output < SVHDX_TUNNEL_OPERATION_HEADER_SIZE +
			      SVHDX_META_OPERATION_REPLY_SIZE)
	{
		return NT_STATUS_BUFFER_TOO_SMALL;
	}
	return rsvd_tunnel_reply(req, NT_STATUS_NOT_SUPPORTED,
				 svhdx_meta_operation_reply, &reply);
}

/* MS-RSVD 3.2.5.5.7.2: an image is always as good as it gets. */
static NTSTATUS rsvd_meta_optimize(struct rsvd_tunnel_request *req,
				   const DATA_BLOB *data)
{
	return rsvd_tunnel_reply_status(req, NT_STATUS_OK);
}

/* MS-RSVD 3.2.5.5.7.3 */
static NTSTATUS rsvd_meta_extract(struct rsvd_tunnel_request *req,
				  const DATA_BLOB *data)
{
	struct svhdx_meta_operation_extract extract;
	char *name = NULL;
	NTSTATUS status;

	status = rsvd_tunnel_pull(req, data, svhdx_meta_operation_extract,
				  &extract);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	status = rsvd_meta_pull_name(req, extract.destination_file_name,
				     extract.destination_file_name_length,
				     &name);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	TALLOC_FREE(name);

	/* There are no snapshots, so SourceSnapshotId is the id of none. */
	return NT_STATUS_INVALID_PARAMETER;
}

/* MS-RSVD 3.2.5.5.7.4 */
static NTSTATUS rsvd_meta_convert(struct rsvd_tunnel_request *req,
				  const DATA_BLOB *data)
{
	struct svhdx_meta_operation_convert_to_vhdset convert;
	const char *extension = NULL;
	char *name = NULL;
	bool is_vhd_set;
	NTSTATUS status;

	status = rsvd_tunnel_pull(req, data,
				  svhdx_meta_operation_convert_to_vhdset,
				  &convert);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	status = rsvd_meta_pull_name(req, convert.destination_vhd_set_name,
				     convert.destination_vhd_set_name_length,
				     &name);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	extension = strrchr(name, '.');
	is_vhd_set = (extension != NULL) &&
		     (strcasecmp_m(extension, ".vhds") == 0);
	TALLOC_FREE(name);
	if (!is_vhd_set) {
		return NT_STATUS_INVALID_PARAMETER;
	}

	return rsvd_tunnel_reply_status(req, NT_STATUS_NOT_SUPPORTED);
}

static NTSTATUS rsvd_meta_capacity_changed_fn(struct scsi_state *state,
					      bool *changed,
					      void *private_data)
{
	scsi_state_establish_ua(state, NULL, SCSI_UA_CAPACITY_DATA_CHANGED);
	*changed = true;
	return NT_STATUS_OK;
}

static NTSTATUS rsvd_meta_resize_disk(
	struct rsvd_open *open,
	const struct svhdx_meta_operation_resize_virtual_disk *resize)
{
	uint64_t old_size = vhdx_geometry(open->image)->virtual_size;
	uint64_t new_size = resize->new_size;
	uint32_t flags = 0;
	NTSTATUS status;

	/* Who is fenced must not take the disk away from the others. */
	status = rsvd_open_check_io(open, true);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	if (resize->shrink_to_minimum_safe_size != 0) {
		status = vhdx_safe_size(open->image, 0, NULL, NULL,
					&new_size);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	if (resize->expand_only == 0) {
		flags |= VHDX_RESIZE_SHRINK;
	}
	if (resize->allow_unsafe_virtual_size != 0) {
		flags |= VHDX_RESIZE_DISCARD;
	}

	status = vhdx_resize(open->image, new_size, flags, NULL, NULL);
	if (!NT_STATUS_IS_OK(status) || (new_size == old_size)) {
		return status;
	}

	/*
	 * To all, also to who asked for it: that is the host, and its guest
	 * has to hear of it too. The disk has the new size whether or not
	 * they can be told.
	 */
	status = rsvd_disk_scsi_update(open->disk,
				       rsvd_meta_capacity_changed_fn, NULL);
	if (!NT_STATUS_IS_OK(status)) {
		DBG_ERR("cannot tell the initiators of the new size: %s\n",
			nt_errstr(status));
	}
	return NT_STATUS_OK;
}

/* MS-RSVD 3.2.5.5.7.5 */
static NTSTATUS rsvd_meta_resize(struct rsvd_tunnel_request *req,
				 const DATA_BLOB *data)
{
	struct svhdx_meta_operation_resize_virtual_disk resize;
	NTSTATUS status;

	status = rsvd_tunnel_pull(req, data,
				  svhdx_meta_operation_resize_virtual_disk,
				  &resize);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	if ((resize.shrink_to_minimum_safe_size != 0) &&
	    ((resize.new_size != 0) || (resize.expand_only != 0) ||
	     (resize.allow_unsafe_virtual_size != 0)))
	{
		return NT_STATUS_INVALID_PARAMETER_1;
	}

	if (req->open->image == NULL) {
		return rsvd_tunnel_reply_status(req, RSVD_TUNNEL_NO_DISK);
	}
	if ((resize.expand_only != 0) &&
	    (resize.new_size < vhdx_geometry(req->open->image)->virtual_size))
	{
		return NT_STATUS_INVALID_PARAMETER;
	}

	return rsvd_tunnel_reply_status(
		req, rsvd_meta_resize_disk(req->open, &resize));
}

/* MS-RSVD 3.2.5.5.7.6 */
static NTSTATUS rsvd_meta_apply_snapshot(struct rsvd_tunnel_request *req,
					 const DATA_BLOB *data)
{
	struct svhdx_apply_snapshot_params params;
	NTSTATUS status;

	status = rsvd_tunnel_pull(req, data, svhdx_apply_snapshot_params,
				  &params);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	if ((params.snapshot_type != SvhdxSnapshotTypeVM) &&
	    (params.snapshot_type != SvhdxSnapshotTypeWriteable))
	{
		return NT_STATUS_INVALID_PARAMETER_1;
	}

	return rsvd_tunnel_reply_status(req, NT_STATUS_NOT_SUPPORTED);
}

static const struct {
	enum svhdx_meta_operation_type type;
	NTSTATUS (*fn)(struct rsvd_tunnel_request *req, const DATA_BLOB *data);
} rsvd_meta_operations[] = {
	{ SvhdxMetaOperationTypeResize, rsvd_meta_resize },
	{ SvhdxMetaOperationTypeCreateSnapshot, rsvd_meta_create_snapshot },
	{ SvhdxMetaOperationTypeOptimize, rsvd_meta_optimize },
	{ SvhdxMetaOperationTypeExtractSnapshots, rsvd_meta_extract },
	{ SvhdxMetaOperationTypeConvertToVHDSet, rsvd_meta_convert },
	{ SvhdxMetaOperationTypeApplySnapshot, rsvd_meta_apply_snapshot },
};

/* MS-RSVD 3.2.5.5.7 */
NTSTATUS rsvd_tunnel_meta_start(struct rsvd_tunnel_request *req)
{
	struct svhdx_meta_operation_start_request request;
	NTSTATUS status;
	size_t i;

	status = rsvd_tunnel_pull(req, &req->payload,
				  svhdx_meta_operation_start_request,
				  &request);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	for (i = 0; i < ARRAY_SIZE(rsvd_meta_operations); i++) {
		if (rsvd_meta_operations[i].type == request.operation_type) {
			return rsvd_meta_operations[i].fn(req, &request.data);
		}
	}

	return NT_STATUS_INVALID_PARAMETER;
}

/* MS-RSVD 3.2.5.5.8 */
NTSTATUS rsvd_tunnel_meta_progress(struct rsvd_tunnel_request *req)
{
	struct svhdx_meta_operation_query_progress_request request;
	NTSTATUS status;

	status = rsvd_tunnel_pull(req, &req->payload,
				  svhdx_meta_operation_query_progress_request,
				  &request);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	/* Every operation is over when it is answered. */
	return rsvd_tunnel_reply_status(req, NT_STATUS_NOT_FOUND);
}
