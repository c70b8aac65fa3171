/*
 * vfs_rsvd: the wire format
 *
 * Each structure of MS-RSVD 2.2.4 as bytes: those of the examples in section 4
 * where there is one, else written by hand from the diagram of the structure.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <talloc.h>
#include "librpc/ndr/libndr.h"
#include "librpc/gen_ndr/ndr_misc.h"
#include "librpc/gen_ndr/ndr_rsvd.h"

/* 5ac43b73-d46f-4579-8340-271f200d7707, the InitiatorId of section 4.1 */
#define GUID_A 0x73, 0x3b, 0xc4, 0x5a, 0x6f, 0xd4, 0x79, 0x45, \
	       0x83, 0x40, 0x27, 0x1f, 0x20, 0x0d, 0x77, 0x07
/* 68bad672-2a73-4cd8-9f58-6a4b67232e0d, that of section 4.3 */
#define GUID_B 0x72, 0xd6, 0xba, 0x68, 0x73, 0x2a, 0xd8, 0x4c, \
	       0x9f, 0x58, 0x6a, 0x4b, 0x67, 0x23, 0x2e, 0x0d
/* 5ac07013-edb8-4e2c-9784-6edd2843f269, the SnapshotId of section 4.3 */
#define GUID_C 0x13, 0x70, 0xc0, 0x5a, 0xb8, 0xed, 0x2c, 0x4e, \
	       0x97, 0x84, 0x6e, 0xdd, 0x28, 0x43, 0xf2, 0x69

static const struct GUID guid_a = {
	0x5ac43b73, 0xd46f, 0x4579, { 0x83, 0x40 },
	{ 0x27, 0x1f, 0x20, 0x0d, 0x77, 0x07 },
};
static const struct GUID guid_b = {
	0x68bad672, 0x2a73, 0x4cd8, { 0x9f, 0x58 },
	{ 0x6a, 0x4b, 0x67, 0x23, 0x2e, 0x0d },
};
static const struct GUID guid_c = {
	0x5ac07013, 0xedb8, 0x4e2c, { 0x97, 0x84 },
	{ 0x6e, 0xdd, 0x28, 0x43, 0xf2, 0x69 },
};

#define assert_guid_equal(a, b) assert_true(GUID_equal(&(a), &(b)))

static int setup(void **state)
{
	*state = talloc_new(NULL);
	return *state != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	talloc_free(*state);
	return 0;
}

/* Parse all of it, and nothing less. */
static void pull(TALLOC_CTX *mem_ctx, const uint8_t *bytes, size_t length,
		 ndr_pull_flags_fn_t fn, void *p)
{
	DATA_BLOB blob = data_blob_const(bytes, length);
	enum ndr_err_code err;

	err = ndr_pull_struct_blob_all(&blob, mem_ctx, p, fn);
	assert_int_equal(err, NDR_ERR_SUCCESS);
}

static void push(TALLOC_CTX *mem_ctx, const uint8_t *bytes, size_t length,
		 ndr_push_flags_fn_t fn, const void *p)
{
	DATA_BLOB blob;
	enum ndr_err_code err;

	err = ndr_push_struct_blob(&blob, mem_ctx, p, fn);
	assert_int_equal(err, NDR_ERR_SUCCESS);
	assert_int_equal(blob.length, length);
	assert_memory_equal(blob.data, bytes, length);
}

/* No part of the bytes will do. The copies let valgrind and ASan see more. */
static void pull_truncated(TALLOC_CTX *mem_ctx, const uint8_t *bytes,
			   size_t min_length, ndr_pull_flags_fn_t fn, void *p)
{
	size_t length;

	for (length = 0; length < min_length; length++) {
		uint8_t *copy = malloc(length + 1);
		DATA_BLOB blob = { .data = copy + 1, .length = length, };
		enum ndr_err_code err;

		assert_non_null(copy);
		memcpy(copy + 1, bytes, length);
		err = ndr_pull_struct_blob(&blob, mem_ctx, p, fn);
		free(copy);
		assert_int_equal(err, NDR_ERR_BUFSIZE);
	}
}

static void pull_overlong(TALLOC_CTX *mem_ctx, const uint8_t *bytes,
			  size_t length, ndr_pull_flags_fn_t fn, void *p)
{
	DATA_BLOB blob = data_blob_talloc_zero(mem_ctx, length + 1);
	enum ndr_err_code err;

	memcpy(blob.data, bytes, length);
	err = ndr_pull_struct_blob_all(&blob, mem_ctx, p, fn);
	assert_int_equal(err, NDR_ERR_UNREAD_BYTES);
}

/*
 * bytes is all there is to the structure: it parses to r, and r comes out
 * as bytes again. One byte less, and one byte more, are refused.
 */
#define check_fixed(state, bytes, type, r) do {				\
	ndr_pull_flags_fn_t pull_fn = (ndr_pull_flags_fn_t)ndr_pull_##type; \
	ndr_push_flags_fn_t push_fn = (ndr_push_flags_fn_t)ndr_push_##type; \
	struct type other;						\
	pull_truncated(*(state), (bytes), sizeof(bytes), pull_fn, &other); \
	pull_overlong(*(state), (bytes), sizeof(bytes), pull_fn, &other); \
	pull(*(state), (bytes), sizeof(bytes), pull_fn, (r));		\
	push(*(state), (bytes), sizeof(bytes), push_fn, (r));		\
} while (0)

/* The same for a structure that ends in as many bytes as there are. */
#define check_open_ended(state, bytes, fixed, type, r) do {		\
	ndr_pull_flags_fn_t pull_fn = (ndr_pull_flags_fn_t)ndr_pull_##type; \
	ndr_push_flags_fn_t push_fn = (ndr_push_flags_fn_t)ndr_push_##type; \
	struct type other;						\
	pull_truncated(*(state), (bytes), (fixed), pull_fn, &other);	\
	pull(*(state), (bytes), (fixed), pull_fn, &other);		\
	pull(*(state), (bytes), sizeof(bytes), pull_fn, (r));		\
	push(*(state), (bytes), sizeof(bytes), push_fn, (r));		\
} while (0)

/* 2.2.4.11, section 4.1 */
static void the_tunnel_header_is_16_bytes(void **state)
{
	static const uint8_t bytes[SVHDX_TUNNEL_OPERATION_HEADER_SIZE] = {
		0x01, 0x10, 0x00, 0x02, 0x07, 0xff, 0x5c, 0xc0,
		0x1e, 0x87, 0xc7, 0x1e, 0x00, 0x00, 0x00, 0x00,
	};
	struct svhdx_tunnel_operation_header r;

	check_fixed(state, bytes, svhdx_tunnel_operation_header, &r);
	assert_int_equal(r.operation_code,
			 RSVD_TUNNEL_GET_INITIAL_INFO_OPERATION);
	assert_int_equal(NT_STATUS_V(r.status), 0xC05CFF07);
	assert_int_equal(r.request_id, 0x1ec7871e);
}

/* 2.2.4.12, section 4.1 */
static void the_open_context_is_168_bytes(void **state)
{
	static const uint8_t bytes[SVHDX_OPEN_DEVICE_CONTEXT_SIZE] = {
		0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
		GUID_A,
		0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
		0x1e, 0x87, 0xc7, 0x1e, 0x00, 0x00, 0x00, 0x00,
		0x10, 0x00, 'c', 0, 'l', 0, 'i', 0, 'e', 0, 'n', 0,
		't', 0, '0', 0, '1', 0,
	};
	struct svhdx_open_device_context r;

	check_fixed(state, bytes, svhdx_open_device_context, &r);
	assert_int_equal(r.version, RSVD_ECP_CONTEXT_VERSION_1);
	assert_int_equal(r.has_initiator_id, 1);
	assert_guid_equal(r.initiator_id, guid_a);
	assert_int_equal(r.flags, 0);
	assert_int_equal(r.originator_flags, SVHDX_ORIGINATOR_PVHDPARSER);
	assert_int_equal(r.open_request_id, 0x1ec7871e);
	assert_int_equal(r.initiator_host_name_length, 16);
	assert_memory_equal(r.initiator_host_name,
			    "c\0l\0i\0e\0n\0t\0" "0\0" "1\0\0", 17);
	assert_int_equal(r.initiator_host_name[125], 0);
}

/* 2.2.4.33, section 4.3 */
static void the_open_context_of_version_2_is_192_bytes(void **state)
{
	static const uint8_t bytes[SVHDX_OPEN_DEVICE_CONTEXT_V2_SIZE] = {
		0x02, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
		GUID_B,
		0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0xb6, 0xe5, 0x28, 0x30,
		0x14, 0x00, 'S', 0, 'M', 0, 'B', 0, 'D', 0, '-', 0,
		'S', 0, 'U', 0, 'T', 0, '0', 0, '1', 0,
		[168] = 0x01, 0x00, 0x00, 0x00,
		0x02, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00,
		0x00, 0x10, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40,
	};
	struct svhdx_open_device_context_v2 r;

	check_fixed(state, bytes, svhdx_open_device_context_v2, &r);
	assert_int_equal(r.v1.version, RSVD_ECP_CONTEXT_VERSION_2);
	assert_guid_equal(r.v1.initiator_id, guid_b);
	assert_int_equal(r.v1.open_request_id, 0x3028e5b600000000);
	assert_int_equal(r.v1.initiator_host_name_length, 20);
	assert_int_equal(r.virtual_disk_properties_initialized, 1);
	assert_int_equal(r.server_service_version, RSVD_PROTOCOL_VERSION_2);
	assert_int_equal(r.virtual_sector_size, 512);
	assert_int_equal(r.physical_sector_size, 4096);
	assert_int_equal(r.virtual_size, 0x4000000000000000);
}

/* 2.2.4.14, section 4.1 */
static void the_initial_info_is_24_bytes(void **state)
{
	static const uint8_t bytes[SVHDX_TUNNEL_INITIAL_INFO_RESPONSE_SIZE] = {
		0x01, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00,
		0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40,
	};
	struct svhdx_tunnel_initial_info_response r;

	check_fixed(state, bytes, svhdx_tunnel_initial_info_response, &r);
	assert_int_equal(r.server_version, RSVD_PROTOCOL_VERSION_1);
	assert_int_equal(r.sector_size, 512);
	assert_int_equal(r.physical_sector_size, 256);
	assert_int_equal(r.virtual_size, 0x4000000000000000);
}

/* 2.2.4.3 */
static void the_srb_status_request_is_28_bytes(void **state)
{
	static const uint8_t bytes[SVHDX_TUNNEL_SRB_STATUS_REQUEST_SIZE] = {
		0x07,
	};
	struct svhdx_tunnel_srb_status_request r;

	check_fixed(state, bytes, svhdx_tunnel_srb_status_request, &r);
	assert_int_equal(r.status_key, 7);
}

/* 2.2.4.4; the sense data is that of 6 <12> */
static void the_srb_status_response_is_24_bytes(void **state)
{
	static const uint8_t bytes[SVHDX_TUNNEL_SRB_STATUS_RESPONSE_SIZE] = {
		0x07, 0x84, 0x02, 0x14,
		0xf0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0a,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00,
	};
	struct svhdx_tunnel_srb_status_response r;

	check_fixed(state, bytes, svhdx_tunnel_srb_status_response, &r);
	assert_int_equal(r.status_key, 7);
	assert_int_equal(r.srb_status & RSVD_SRB_STATUS_MASK,
			 RSVD_SRB_STATUS_ERROR);
	assert_true(r.srb_status & RSVD_SRB_STATUS_AUTOSENSE_VALID);
	assert_int_equal(r.scsi_status, 0x02);
	assert_int_equal(r.sense_info_ex_length, RSVD_SCSI_SENSE_BUFFER_SIZE);
	assert_int_equal(r.sense_data_ex[7], 0x0a);
}

/* 2.2.4.5 */
static void the_disk_info_request_is_56_bytes(void **state)
{
	static const uint8_t bytes[SVHDX_TUNNEL_DISK_INFO_REQUEST_SIZE] = {
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x01, 0x00, 0x00, 0x00,
		GUID_A,
		0x02, 0x03, 0x00, 0x00,
		0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		GUID_B,
	};
	struct svhdx_tunnel_disk_info_request r;

	check_fixed(state, bytes, svhdx_tunnel_disk_info_request, &r);
	assert_int_equal(r.block_size, 1);
	assert_guid_equal(r.linkage_id, guid_a);
	assert_int_equal(r.is_mounted, 2);
	assert_int_equal(r.is_4k_aligned, 3);
	assert_int_equal(r.file_size, 4);
	assert_guid_equal(r.virtual_disk_id, guid_b);
}

/* 2.2.4.6 */
static void the_disk_info_response_is_56_bytes(void **state)
{
	static const uint8_t bytes[SVHDX_TUNNEL_DISK_INFO_RESPONSE_SIZE] = {
		0x03, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x02,
		GUID_A,
		0x01, 0x01, 0x00, 0x00,
		0x00, 0x00, 0x40, 0x00, 0x01, 0x00, 0x00, 0x00,
		GUID_B,
	};
	struct svhdx_tunnel_disk_info_response r;

	check_fixed(state, bytes, svhdx_tunnel_disk_info_response, &r);
	assert_int_equal(r.disk_type, VHD_TYPE_DYNAMIC);
	assert_int_equal(r.disk_format, VIRTUAL_STORAGE_TYPE_DEVICE_VHDX);
	assert_int_equal(r.block_size, 32 * 1024 * 1024);
	assert_guid_equal(r.linkage_id, guid_a);
	assert_int_equal(r.is_mounted, 1);
	assert_int_equal(r.is_4k_aligned, 1);
	assert_int_equal(r.file_size, 0x100400000);
	assert_guid_equal(r.virtual_disk_id, guid_b);
}

/* 2.2.4.7, section 4.2 */
static void the_scsi_request_is_36_bytes_and_its_data(void **state)
{
	static const uint8_t bytes[SVHDX_TUNNEL_SCSI_REQUEST_SIZE + 8] = {
		0x24, 0x00, 0x00, 0x00, 0x10, 0x14, 0x01, 0x00,
		0x4a, 0x01, 0x20, 0x00, 0x08, 0x00, 0x00, 0x00,
		0x25, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00,
		0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
	};
	struct svhdx_tunnel_scsi_request r;

	check_open_ended(state, bytes, SVHDX_TUNNEL_SCSI_REQUEST_SIZE,
			 svhdx_tunnel_scsi_request, &r);
	assert_int_equal(r.length, 36);
	assert_int_equal(r.cdb_length, 16);
	assert_int_equal(r.sense_info_ex_length, 20);
	assert_int_equal(r.disposition, RSVD_DISPOSITION_DATA_IN);
	assert_int_equal(r.srb_flags, 0x0020014a);
	assert_int_equal(r.data_transfer_length, 8);
	assert_int_equal(r.cdb_buffer[0], 0x25);
	assert_int_equal(r.data_buffer.length, 8);
	assert_int_equal(r.data_buffer.data[7], 8);
}

/* 2.2.4.8, section 4.2 */
static void the_scsi_response_is_36_bytes_and_its_data(void **state)
{
	static const uint8_t bytes[SVHDX_TUNNEL_SCSI_RESPONSE_SIZE + 8] = {
		0x24, 0x00, 0x00, 0x00, 0x10, 0x14, 0x01, 0x00,
		0x4a, 0x01, 0x20, 0x00, 0x08, 0x00, 0x00, 0x00,
		0x25, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00,
		0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
	};
	struct svhdx_tunnel_scsi_response r;

	check_open_ended(state, bytes, SVHDX_TUNNEL_SCSI_RESPONSE_SIZE,
			 svhdx_tunnel_scsi_response, &r);
	assert_int_equal(r.length, 36);
	assert_int_equal(r.srb_status, 0);
	assert_int_equal(r.scsi_status, 0);
	assert_int_equal(r.cdb_length, 16);
	assert_int_equal(r.sense_info_ex_length, 20);
	assert_int_equal(r.disposition, RSVD_DISPOSITION_DATA_IN);
	assert_int_equal(r.srb_flags, 0x0020014a);
	assert_int_equal(r.data_transfer_length, 8);
	assert_int_equal(r.sense_data_ex[0], 0x25);
	assert_int_equal(r.sense_data_ex[19], 0);
	assert_int_equal(r.data_buffer.length, 8);
	assert_int_equal(r.data_buffer.data[0], 1);
}

/* 2.2.4.9 */
static void the_validate_disk_request_is_56_bytes(void **state)
{
	static const uint8_t bytes[SVHDX_TUNNEL_VALIDATE_DISK_REQUEST_SIZE];
	struct svhdx_tunnel_validate_disk_request r;

	check_fixed(state, bytes, svhdx_tunnel_validate_disk_request, &r);
}

/* 2.2.4.10 */
static void the_validate_disk_response_is_one_byte(void **state)
{
	static const uint8_t bytes[SVHDX_TUNNEL_VALIDATE_DISK_RESPONSE_SIZE] = {
		0x01,
	};
	struct svhdx_tunnel_validate_disk_response r;

	check_fixed(state, bytes, svhdx_tunnel_validate_disk_response, &r);
	assert_int_equal(r.is_valid_disk, 1);
}

/* 2.2.4.16 */
static void the_support_response_is_8_bytes(void **state)
{
	static const uint8_t
		bytes[SVHDX_SHARED_VIRTUAL_DISK_SUPPORT_RESPONSE_SIZE] = {
		0x07, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,
	};
	struct svhdx_shared_virtual_disk_support_response r;

	check_fixed(state, bytes, svhdx_shared_virtual_disk_support_response,
		    &r);
	assert_int_equal(r.support, SharedVirtualDiskSnapshotsSupported);
	assert_int_equal(r.handle_state, HandleStateShared);
}

/* 2.2.4.17, section 4.3 */
static void the_meta_operation_request_is_24_bytes_and_its_data(void **state)
{
	static const uint8_t bytes[SVHDX_META_OPERATION_START_REQUEST_SIZE + 2] = {
		GUID_A,
		0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0xaa, 0xbb,
	};
	struct svhdx_meta_operation_start_request r;

	check_open_ended(state, bytes, SVHDX_META_OPERATION_START_REQUEST_SIZE,
			 svhdx_meta_operation_start_request, &r);
	assert_guid_equal(r.transaction_id, guid_a);
	assert_int_equal(r.operation_type,
			 SvhdxMetaOperationTypeCreateSnapshot);
	assert_int_equal(r.data.length, 2);
	assert_int_equal(r.data.data[1], 0xbb);
}

/* 2.2.4.17.1, section 4.3 */
static void create_snapshot_is_52_bytes_and_its_parameters(void **state)
{
	static const uint8_t
		bytes[SVHDX_META_OPERATION_CREATE_SNAPSHOT_SIZE + 1] = {
		0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x02, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,
		0x04, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		GUID_C,
		0x00, 0x00, 0x00, 0x00,
		0xff,
	};
	struct svhdx_meta_operation_create_snapshot r;

	check_open_ended(state, bytes,
			 SVHDX_META_OPERATION_CREATE_SNAPSHOT_SIZE,
			 svhdx_meta_operation_create_snapshot, &r);
	assert_int_equal(r.snapshot_type, SvhdxSnapshotTypeVM);
	assert_int_equal(r.flags, 0);
	assert_int_equal(r.stage[0], SvhdxSnapshotStageBlockIO);
	assert_int_equal(r.stage[1], SvhdxSnapshotStageSwitchObjectStore);
	assert_int_equal(r.stage[2], SvhdxSnapshotStageUnblockIO);
	assert_int_equal(r.stage[3], SvhdxSnapshotStageFinalize);
	assert_int_equal(r.stage[4], SvhdxSnapshotStageInvalid);
	assert_int_equal(r.stage[5], SvhdxSnapshotStageInvalid);
	assert_guid_equal(r.snapshot_id, guid_c);
	assert_int_equal(r.parameters_payload_size, 0);
	assert_int_equal(r.parameters.length, 1);
}

/* 2.2.4.17.1.1 */
static void the_cdp_parameter_is_24_bytes_and_a_name(void **state)
{
	static const uint8_t
		bytes[SVHDX_META_OPERATION_CREATE_CDP_PARAMETER_SIZE + 2] = {
		0x18, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
		GUID_B,
		'x', 0x00,
	};
	struct svhdx_meta_operation_create_cdp_parameter r;

	check_open_ended(state, bytes,
			 SVHDX_META_OPERATION_CREATE_CDP_PARAMETER_SIZE,
			 svhdx_meta_operation_create_cdp_parameter, &r);
	assert_int_equal(r.log_file_name_offset, 24);
	assert_int_equal(r.log_file_name_length, 2);
	assert_guid_equal(r.log_file_id, guid_b);
	assert_int_equal(r.log_file_name.length, 2);
}

/* 2.2.4.17.2 */
static void extract_is_48_bytes_and_a_name(void **state)
{
	static const uint8_t bytes[SVHDX_META_OPERATION_EXTRACT_SIZE + 4] = {
		0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x01, 0x00, 0x00, 0x00,
		GUID_A,
		GUID_B,
		0x04, 0x00, 0x00, 0x00,
		'x', 0x00, 0x00, 0x00,
	};
	struct svhdx_meta_operation_extract r;

	check_open_ended(state, bytes, SVHDX_META_OPERATION_EXTRACT_SIZE,
			 svhdx_meta_operation_extract, &r);
	assert_int_equal(r.snapshot_type, SvhdxSnapshotTypeVM);
	assert_int_equal(r.flags,
			 SVHDX_EXTRACT_SNAPSHOTS_FLAG_DELETE_ON_CLOSE);
	assert_guid_equal(r.source_snapshot_id, guid_a);
	assert_guid_equal(r.source_limit_snapshot_id, guid_b);
	assert_int_equal(r.destination_file_name_length, 4);
	assert_int_equal(r.destination_file_name.length, 4);
}

/* 2.2.4.17.3 */
static void convert_to_vhdset_is_4_bytes_and_a_name(void **state)
{
	static const uint8_t bytes[] = {
		0x04, 0x00, 0x00, 0x00,
		'x', 0x00, 0x00, 0x00,
	};
	struct svhdx_meta_operation_convert_to_vhdset r;

	check_open_ended(state, bytes,
			 SVHDX_META_OPERATION_CONVERT_TO_VHDSET_SIZE,
			 svhdx_meta_operation_convert_to_vhdset, &r);
	assert_int_equal(r.destination_vhd_set_name_length, 4);
	assert_int_equal(r.destination_vhd_set_name.length, 4);
}

/* 2.2.4.17.4 */
static void resize_is_12_bytes(void **state)
{
	static const uint8_t
		bytes[SVHDX_META_OPERATION_RESIZE_VIRTUAL_DISK_SIZE] = {
		0x00, 0x00, 0x00, 0x40, 0x01, 0x00, 0x00, 0x00,
		0x01, 0x02, 0x03, 0x00,
	};
	struct svhdx_meta_operation_resize_virtual_disk r;

	check_fixed(state, bytes, svhdx_meta_operation_resize_virtual_disk,
		    &r);
	assert_int_equal(r.new_size, 0x140000000);
	assert_int_equal(r.expand_only, 1);
	assert_int_equal(r.allow_unsafe_virtual_size, 2);
	assert_int_equal(r.shrink_to_minimum_safe_size, 3);
}

/* 2.2.4.36 */
static void apply_snapshot_is_20_bytes(void **state)
{
	static const uint8_t bytes[SVHDX_APPLY_SNAPSHOT_PARAMS_SIZE] = {
		0x04, 0x00, 0x00, 0x00,
		GUID_C,
	};
	struct svhdx_apply_snapshot_params r;

	check_fixed(state, bytes, svhdx_apply_snapshot_params, &r);
	assert_int_equal(r.snapshot_type, SvhdxSnapshotTypeWriteable);
	assert_guid_equal(r.snapshot_id, guid_c);
}

/* 2.2.4.18 */
static void the_meta_operation_reply_is_4_bytes(void **state)
{
	static const uint8_t bytes[SVHDX_META_OPERATION_REPLY_SIZE] = {
		0x22, 0x00, 0x3a, 0xc0,
	};
	struct svhdx_meta_operation_reply r;

	check_fixed(state, bytes, svhdx_meta_operation_reply, &r);
	assert_int_equal(r.change_tracking_error_status,
			 SVHDX_TUNNEL_CHANGE_TRACKING_VHD_CHANGED_OFFLINE);
}

/* 2.2.4.19, section 4.4 */
static void the_vhdset_query_is_24_bytes(void **state)
{
	static const uint8_t
	bytes[SVHDX_TUNNEL_VHDSET_QUERY_INFORMATION_REQUEST_SIZE] = {
		0x02, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
	};
	struct svhdx_tunnel_vhdset_query_information_request r;

	check_fixed(state, bytes,
		    svhdx_tunnel_vhdset_query_information_request, &r);
	assert_int_equal(r.information_type,
			 SvhdxVHDSetInformationTypeSnapshotList);
	assert_int_equal(r.snapshot_type, SvhdxSnapshotTypeVM);
	assert_true(GUID_all_zero(&r.snapshot_id));
}

/* 2.2.4.20, section 4.4 */
static void the_snapshot_list_is_as_long_as_its_number_says(void **state)
{
	static const uint8_t bytes[] = {
		0x02, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
		0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
		/* 4d051d8d-d120-4ec5-ba14-a2bc02219678 */
		0x8d, 0x1d, 0x05, 0x4d, 0x20, 0xd1, 0xc5, 0x4e,
		0xba, 0x14, 0xa2, 0xbc, 0x02, 0x21, 0x96, 0x78,
		/* 71836f8b-210e-4896-aac6-1c4e3a8e81ef */
		0x8b, 0x6f, 0x83, 0x71, 0x0e, 0x21, 0x96, 0x48,
		0xaa, 0xc6, 0x1c, 0x4e, 0x3a, 0x8e, 0x81, 0xef,
	};
	struct svhdx_tunnel_vhdset_query_information_snapshot_list_response r;

	check_fixed(
		state, bytes,
		svhdx_tunnel_vhdset_query_information_snapshot_list_response,
		&r);
	assert_int_equal(r.information_type,
			 SvhdxVHDSetInformationTypeSnapshotList);
	assert_int_equal(r.response_complete, 1);
	assert_int_equal(r.number_of_snapshots, 2);
	assert_int_equal(r.snapshot_ids[0].time_low, 0x4d051d8d);
	assert_int_equal(r.snapshot_ids[1].node[5], 0xef);
}

static void a_snapshot_list_that_did_not_fit_has_a_number_only(void **state)
{
	static const uint8_t
	bytes[SVHDX_TUNNEL_VHDSET_QUERY_INFORMATION_SNAPSHOT_LIST_RESPONSE_SIZE] = {
		0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
	};
	struct svhdx_tunnel_vhdset_query_information_snapshot_list_response r;

	check_fixed(
		state, bytes,
		svhdx_tunnel_vhdset_query_information_snapshot_list_response,
		&r);
	assert_int_equal(r.response_complete, 0);
	assert_int_equal(r.number_of_snapshots, 2);
}

static void a_snapshot_list_of_four_billion_is_refused(void **state)
{
	static const uint8_t bytes[] = {
		0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x01, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff,
		GUID_A,
	};
	DATA_BLOB blob = data_blob_const(bytes, sizeof(bytes));
	struct svhdx_tunnel_vhdset_query_information_snapshot_list_response r;
	enum ndr_err_code err;

	err = ndr_pull_struct_blob(
		&blob, *state, &r, (ndr_pull_flags_fn_t)
	ndr_pull_svhdx_tunnel_vhdset_query_information_snapshot_list_response);
	assert_int_not_equal(err, NDR_ERR_SUCCESS);
}

/* 2.2.4.21 */
static void the_snapshot_entry_is_72_bytes(void **state)
{
	static const uint8_t
	bytes[SVHDX_TUNNEL_VHDSET_QUERY_INFORMATION_SNAPSHOT_ENTRY_RESPONSE_SIZE] = {
		0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x15, 0xcd, 0x5b, 0x07, 0x01, 0x00, 0x00, 0x00,
		0x03, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
		GUID_A,
		GUID_B,
		GUID_C,
	};
	struct svhdx_tunnel_vhdset_query_information_snapshot_entry_response r;

	check_fixed(
		state, bytes,
		svhdx_tunnel_vhdset_query_information_snapshot_entry_response,
		&r);
	assert_int_equal(r.information_type,
			 SvhdxVHDSetInformationTypeSnapshotEntry);
	assert_int_equal(r.snapshot_creation_time, 0x1075bcd15);
	assert_int_equal(r.snapshot_type, SvhdxSnapshotTypeCDP);
	assert_int_equal(r.is_valid_snapshot, 1);
	assert_guid_equal(r.snapshot_id, guid_a);
	assert_guid_equal(r.parent_snapshot_id, guid_b);
	assert_guid_equal(r.log_file_id, guid_c);
}

/* 2.2.4.22 */
static void the_optimize_answer_is_12_bytes(void **state)
{
	static const uint8_t
	bytes[SVHDX_TUNNEL_VHDSET_QUERY_INFORMATION_OPTIMIZE_RESPONSE_SIZE] = {
		0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x01, 0x00, 0x00, 0x00,
	};
	struct svhdx_tunnel_vhdset_query_information_optimize_response r;

	check_fixed(state, bytes,
		    svhdx_tunnel_vhdset_query_information_optimize_response,
		    &r);
	assert_int_equal(r.information_type,
			 SvhdxVHDSetInformationTypeOptimizeNeeded);
	assert_int_equal(r.optimize_needed, 1);
}

/* 2.2.4.23 */
static void the_progress_request_is_16_bytes(void **state)
{
	static const uint8_t
	bytes[SVHDX_META_OPERATION_QUERY_PROGRESS_REQUEST_SIZE] = { GUID_A };
	struct svhdx_meta_operation_query_progress_request r;

	check_fixed(state, bytes, svhdx_meta_operation_query_progress_request,
		    &r);
	assert_guid_equal(r.transaction_id, guid_a);
}

/* 2.2.4.24 */
static void the_progress_response_is_16_bytes(void **state)
{
	static const uint8_t
	bytes[SVHDX_META_OPERATION_QUERY_PROGRESS_RESPONSE_SIZE] = {
		0x32, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x64, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
	};
	struct svhdx_meta_operation_query_progress_response r;

	check_fixed(state, bytes, svhdx_meta_operation_query_progress_response,
		    &r);
	assert_int_equal(r.current_progress_value, 50);
	assert_int_equal(r.complete_value, 0x0100000000000064);
}

/* 2.2.4.25 */
static void the_tracking_parameters_are_16_bytes(void **state)
{
	static const uint8_t
	bytes[SVHDX_CHANGE_TRACKING_GET_PARAMETERS_RESPONSE_SIZE] = {
		0x20, 0x00, 0x3a, 0xc0, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	};
	struct svhdx_change_tracking_get_parameters_response r;

	check_fixed(state, bytes,
		    svhdx_change_tracking_get_parameters_response, &r);
	assert_int_equal(r.change_tracking_status,
			 SVHDX_TUNNEL_CHANGE_TRACKING_NOT_INITIALIZED);
	assert_int_equal(r.log_file_size, 4096);
}

/* 2.2.4.26 */
static void the_delete_snapshot_request_is_24_bytes(void **state)
{
	static const uint8_t
	bytes[SVHDX_TUNNEL_DELETE_SNAPSHOT_REQUEST_SIZE] = {
		GUID_C,
		0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
	};
	struct svhdx_tunnel_delete_snapshot_request r;

	check_fixed(state, bytes, svhdx_tunnel_delete_snapshot_request, &r);
	assert_guid_equal(r.snapshot_id, guid_c);
	assert_int_equal(r.persist_reference, 1);
	assert_int_equal(r.snapshot_type, SvhdxSnapshotTypeVM);
}

/* 2.2.4.27 */
static void the_tracking_start_request_is_56_bytes_and_a_name(void **state)
{
	static const uint8_t
	bytes[SVHDX_CHANGE_TRACKING_START_REQUEST_SIZE + 2] = {
		GUID_A,
		0x38, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
		GUID_B,
		0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00,
	};
	struct svhdx_change_tracking_start_request r;

	check_open_ended(state, bytes, SVHDX_CHANGE_TRACKING_START_REQUEST_SIZE,
			 svhdx_change_tracking_start_request, &r);
	assert_guid_equal(r.transaction_id, guid_a);
	assert_int_equal(r.log_file_name_offset, 56);
	assert_int_equal(r.log_file_name_length, 2);
	assert_guid_equal(r.log_file_id, guid_b);
	assert_int_equal(r.max_log_file_size, 1024 * 1024);
	assert_int_equal(r.append_data, 1);
	assert_int_equal(r.log_file_name.length, 2);
}

/* 2.2.4.30 */
static void the_tracking_stop_response_is_4_bytes(void **state)
{
	static const uint8_t bytes[SVHDX_CHANGE_TRACKING_STOP_RESPONSE_SIZE] = {
		0x23, 0x00, 0x3a, 0xc0,
	};
	struct svhdx_change_tracking_stop_response r;

	check_fixed(state, bytes, svhdx_change_tracking_stop_response, &r);
	assert_int_equal(r.change_tracking_status,
			 SVHDX_TUNNEL_CHANGE_TRACKING_INVALID_TRACKING_STATE);
}

/* 2.2.4.34, 2.2.4.35 */
static void the_target_specifier_is_24_bytes(void **state)
{
	static const uint8_t bytes[RSVD_BLOCK_DEVICE_TARGET_SPECIFIER_SIZE] = {
		0x00, 0x00, 0x00, 0x00,
		0x01, 0x00, 0x00, 0x00,
		GUID_C,
	};
	struct rsvd_block_device_target_specifier r;

	check_fixed(state, bytes, rsvd_block_device_target_specifier, &r);
	assert_int_equal(r.target_namespace,
			 RSVD_TARGET_NAMESPACE_SNAPSHOT_ID);
	assert_int_equal(r.target_information_snapshot.snapshot_type,
			 SvhdxSnapshotTypeVM);
	assert_guid_equal(r.target_information_snapshot.snapshot_id, guid_c);
}

/* 2.2.4.37 */
static void the_changes_request_is_56_bytes(void **state)
{
	static const uint8_t
	bytes[SVHDX_TUNNEL_QUERY_VIRTUAL_DISK_CHANGES_REQUEST_SIZE] = {
		GUID_A,
		GUID_B,
		0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00,
	};
	struct svhdx_tunnel_query_virtual_disk_changes_request r;

	check_fixed(state, bytes,
		    svhdx_tunnel_query_virtual_disk_changes_request, &r);
	assert_guid_equal(r.target_snapshot_id, guid_a);
	assert_guid_equal(r.limit_snapshot_id, guid_b);
	assert_int_equal(r.snapshot_type, SvhdxSnapshotTypeVM);
	assert_int_equal(r.byte_offset, 4096);
	assert_int_equal(r.byte_length, 1024 * 1024);
}

/* 2.2.4.38, 2.2.4.39 */
static void the_changes_reply_is_as_long_as_its_count_says(void **state)
{
	static const uint8_t bytes[] = {
		0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	};
	struct svhdx_tunnel_query_virtual_disk_changes_reply r;

	check_fixed(state, bytes,
		    svhdx_tunnel_query_virtual_disk_changes_reply, &r);
	assert_int_equal(r.processed_byte_length, 1024 * 1024);
	assert_int_equal(r.range_count, 2);
	assert_int_equal(r.ranges[0].byte_offset, 512);
	assert_int_equal(r.ranges[0].byte_length, 1024);
	assert_int_equal(r.ranges[1].byte_offset, 4096);
	assert_int_equal(r.ranges[1].byte_length, 8192);
}

/* 2.2.4.40 */
static void the_safe_size_response_is_8_bytes(void **state)
{
	static const uint8_t
	bytes[SVHDX_TUNNEL_QUERY_SAFE_SIZE_RESPONSE_SIZE] = {
		0x00, 0x00, 0x00, 0x40, 0x01, 0x00, 0x00, 0x00,
	};
	struct svhdx_tunnel_query_safe_size_response r;

	check_fixed(state, bytes, svhdx_tunnel_query_safe_size_response, &r);
	assert_int_equal(r.safe_virtual_size, 0x140000000);
}

/* 2.2.1 to 2.2.3, 2.2.5, 2.2.6 */
static void the_constants_have_the_values_of_the_text(void **state)
{
	assert_int_equal(RSVD_CDB_GENERIC_LENGTH, 16);
	assert_int_equal(RSVD_SCSI_SENSE_BUFFER_SIZE, 20);
	assert_int_equal(RSVD_MAXIMUM_NAME_LENGTH, 126);
	assert_int_equal(RSVD_FSCTL_SYNC_TUNNEL, 0x00090304);
	assert_int_equal(RSVD_FSCTL_QUERY_SUPPORT, 0x00090300);
	assert_int_equal(RSVD_FSCTL_ASYNC_TUNNEL, 0x00090364);

	assert_int_equal(RSVD_TUNNEL_SCSI_OPERATION, 0x02001002);
	assert_int_equal(RSVD_TUNNEL_META_OPERATION_START, 0x02002101);
	assert_int_equal(RSVD_TUNNEL_QUERY_SAFE_SIZE, 0x0200200d);

	assert_int_equal(NT_STATUS_V(NT_STATUS_SVHDX_ERROR_STORED_KEY(0xff)),
			 0xc05c00ff);
	assert_true(NT_STATUS_IS_SVHDX_ERROR_STORED(NT_STATUS(0xc05c0001)));
	assert_false(NT_STATUS_IS_SVHDX_ERROR_STORED(NT_STATUS(0xc05cff01)));
	assert_int_equal(NT_STATUS_V(NT_STATUS_SVHDX_VERSION_MISMATCH),
			 0xc05cff09);
	assert_int_equal(NT_STATUS_V(NT_STATUS_VHD_SHARED), 0xc05cff0a);

	assert_int_equal(RSVD_SRB_STATUS_DATA_OVERRUN, 0x12);
	assert_int_equal(SvhdxSnapshotTypeWriteable, 4);
}

#define rsvd_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		rsvd_test(the_constants_have_the_values_of_the_text),
		rsvd_test(the_tunnel_header_is_16_bytes),
		rsvd_test(the_open_context_is_168_bytes),
		rsvd_test(the_open_context_of_version_2_is_192_bytes),
		rsvd_test(the_initial_info_is_24_bytes),
		rsvd_test(the_srb_status_request_is_28_bytes),
		rsvd_test(the_srb_status_response_is_24_bytes),
		rsvd_test(the_disk_info_request_is_56_bytes),
		rsvd_test(the_disk_info_response_is_56_bytes),
		rsvd_test(the_scsi_request_is_36_bytes_and_its_data),
		rsvd_test(the_scsi_response_is_36_bytes_and_its_data),
		rsvd_test(the_validate_disk_request_is_56_bytes),
		rsvd_test(the_validate_disk_response_is_one_byte),
		rsvd_test(the_support_response_is_8_bytes),
		rsvd_test(the_meta_operation_request_is_24_bytes_and_its_data),
		rsvd_test(create_snapshot_is_52_bytes_and_its_parameters),
		rsvd_test(the_cdp_parameter_is_24_bytes_and_a_name),
		rsvd_test(extract_is_48_bytes_and_a_name),
		rsvd_test(convert_to_vhdset_is_4_bytes_and_a_name),
		rsvd_test(resize_is_12_bytes),
		rsvd_test(apply_snapshot_is_20_bytes),
		rsvd_test(the_meta_operation_reply_is_4_bytes),
		rsvd_test(the_vhdset_query_is_24_bytes),
		rsvd_test(the_snapshot_list_is_as_long_as_its_number_says),
		rsvd_test(a_snapshot_list_that_did_not_fit_has_a_number_only),
		rsvd_test(a_snapshot_list_of_four_billion_is_refused),
		rsvd_test(the_snapshot_entry_is_72_bytes),
		rsvd_test(the_optimize_answer_is_12_bytes),
		rsvd_test(the_progress_request_is_16_bytes),
		rsvd_test(the_progress_response_is_16_bytes),
		rsvd_test(the_tracking_parameters_are_16_bytes),
		rsvd_test(the_delete_snapshot_request_is_24_bytes),
		rsvd_test(the_tracking_start_request_is_56_bytes_and_a_name),
		rsvd_test(the_tracking_stop_response_is_4_bytes),
		rsvd_test(the_target_specifier_is_24_bytes),
		rsvd_test(the_changes_request_is_56_bytes),
		rsvd_test(the_changes_reply_is_as_long_as_its_count_says),
		rsvd_test(the_safe_size_response_is_8_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
