/*
 * librsvd: what it sends, and what it makes of an answer, bytes as MS-RSVD
 * has them
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

/* clang-format off */
#include "source3/librsvd/librsvd_connect.c"
#include "source3/librsvd/librsvd_credits.c"
#include "source3/librsvd/librsvd_open.c"
#include "source3/librsvd/librsvd_tunnel.c"
#include "source3/librsvd/librsvd_meta.c"
#include "source3/librsvd/librsvd_util.c"
/* clang-format on */

#include <setjmp.h>
#include <cmocka.h>

/* The InitiatorId of MS-RSVD 4.1, in the order of the wire. */
static const struct librsvd_guid initiator = {
	.bytes = { 0x20, 0x0D, 0x77, 0x07, 0x27, 0x1F, 0x83, 0x40,
		   0x45, 0x79, 0xD4, 0x6F, 0x5A, 0xC4, 0x3B, 0x73 },
};

/* MS-RSVD 4.1, the open context of the client; zeros follow. */
static const uint8_t open_v1[66] = {
	0x01, 0x00, 0x00, 0x00,				/* Version */
	0x01, 0x00, 0x00, 0x00,				/* HasInitiatorId */
	0x20, 0x0D, 0x77, 0x07, 0x27, 0x1F, 0x83, 0x40,	/* InitiatorId */
	0x45, 0x79, 0xD4, 0x6F, 0x5A, 0xC4, 0x3B, 0x73,
	0x00, 0x00, 0x00, 0x00,				/* Flags */
	0x01, 0x00, 0x00, 0x00,				/* Originator */
	0x1E, 0x87, 0xC7, 0x1E, 0x00, 0x00, 0x00, 0x00,	/* OpenRequestId */
	0x10, 0x00,					/* name length */
	'c', 0, 'l', 0, 'i', 0, 'e', 0, 'n', 0, 't', 0, '0', 0, '1', 0,
};

static const struct librsvd_open_params open_params = {
	.path = "disk.vhdx",
	.version = 1,
	.initiator_id = &initiator,
	.host_name = "client01",
	.originator = LIBRSVD_ORIGINATOR_PVHDPARSER,
};

#define REQUEST_ID 0x1EC7871EULL

static int setup(void **state)
{
	*state = talloc_stackframe();
	return 0;
}

static int teardown(void **state)
{
	TALLOC_CTX *frame = *state;

	talloc_free(frame);
	return 0;
}

static void assert_status(NTSTATUS status, NTSTATUS expected)
{
	if (!NT_STATUS_EQUAL(status, expected)) {
		fail_msg("%s, not %s", nt_errstr(status),
			 nt_errstr(expected));
	}
}

/*
 * The open
 */

static void a_version_1_open_context_has_the_bytes_of_the_example(void **state)
{
	uint8_t expected[168] = { 0 };
	DATA_BLOB blob;

	memcpy(expected, open_v1, sizeof(open_v1));

	assert_status(librsvd_open_context_push(*state, &open_params,
						REQUEST_ID, &blob),
		      NT_STATUS_OK);

	assert_int_equal(blob.length, sizeof(expected));
	assert_memory_equal(blob.data, expected, sizeof(expected));
}

static void a_version_2_open_context_adds_24_zeros(void **state)
{
	struct librsvd_open_params params = open_params;
	uint8_t expected[192] = { 0 };
	DATA_BLOB blob;

	params.version = 2;
	memcpy(expected, open_v1, sizeof(open_v1));
	expected[0] = 2;

	assert_status(librsvd_open_context_push(*state, &params, REQUEST_ID,
						&blob),
		      NT_STATUS_OK);

	assert_int_equal(blob.length, sizeof(expected));
	assert_memory_equal(blob.data, expected, sizeof(expected));
}

static void without_initiator_the_field_is_zero(void **state)
{
	struct librsvd_open_params params = open_params;
	uint8_t zeros[16] = { 0 };
	DATA_BLOB blob;

	params.initiator_id = NULL;

	assert_status(librsvd_open_context_push(*state, &params, REQUEST_ID,
						&blob),
		      NT_STATUS_OK);

	assert_int_equal(blob.data[4], 0);
	assert_memory_equal(blob.data + 8, zeros, sizeof(zeros));
}

static void a_host_name_of_63_characters_fits(void **state)
{
	struct librsvd_open_params params = open_params;
	DATA_BLOB blob;

	params.host_name = "012345678901234567890123456789012345678901234567"
			   "890123456789012";

	assert_status(librsvd_open_context_push(*state, &params, REQUEST_ID,
						&blob),
		      NT_STATUS_OK);

	assert_int_equal(blob.data[40], 126);
	assert_int_equal(blob.length, 168);
}

static void a_host_name_of_64_characters_is_refused(void **state)
{
	struct librsvd_open_params params = open_params;
	DATA_BLOB blob;

	params.host_name = "012345678901234567890123456789012345678901234567"
			   "8901234567890123";

	assert_status(librsvd_open_context_push(*state, &params, REQUEST_ID,
						&blob),
		      NT_STATUS_INVALID_PARAMETER);
}

static void a_version_1_answer_is_taken_apart(void **state)
{
	struct librsvd_open_response response;
	uint8_t bytes[168] = { 0 };
	DATA_BLOB blob = data_blob_const(bytes, sizeof(bytes));

	memcpy(bytes, open_v1, sizeof(open_v1));

	assert_status(librsvd_open_context_pull(*state, &blob, 1, REQUEST_ID,
						&response),
		      NT_STATUS_OK);

	assert_int_equal(response.version, 1);
	assert_true(response.has_initiator_id);
	assert_memory_equal(response.initiator_id.bytes, initiator.bytes, 16);
	assert_int_equal(response.originator, LIBRSVD_ORIGINATOR_PVHDPARSER);
	assert_string_equal(response.host_name, "client01");
	assert_false(response.properties_initialized);
}

static void a_version_2_answer_tells_the_geometry(void **state)
{
	static const uint8_t properties[24] = {
		0x01, 0x00, 0x00, 0x00,	/* VirtualDiskPropertiesInitialized */
		0x02, 0x00, 0x00, 0x00,	/* ServerServiceVersion */
		0x00, 0x02, 0x00, 0x00,	/* VirtualSectorSize */
		0x00, 0x10, 0x00, 0x00,	/* PhysicalSectorSize */
		0x00, 0x00, 0x00, 0x40,	/* VirtualSize */
		0x01, 0x00, 0x00, 0x00,
	};
	struct librsvd_open_response response;
	uint8_t bytes[192] = { 0 };
	DATA_BLOB blob = data_blob_const(bytes, sizeof(bytes));

	memcpy(bytes, open_v1, sizeof(open_v1));
	bytes[0] = 2;
	memcpy(bytes + 168, properties, sizeof(properties));

	assert_status(librsvd_open_context_pull(*state, &blob, 2, REQUEST_ID,
						&response),
		      NT_STATUS_OK);

	assert_true(response.properties_initialized);
	assert_int_equal(response.server_version, 2);
	assert_int_equal(response.sector_size, 512);
	assert_int_equal(response.physical_sector_size, 4096);
	assert_int_equal(response.virtual_size, 0x140000000ULL);
}

static void an_open_answer_one_byte_short_is_refused(void **state)
{
	struct librsvd_open_response response;
	uint8_t bytes[192] = { 0 };
	DATA_BLOB v1 = data_blob_const(bytes, 167);
	DATA_BLOB v2 = data_blob_const(bytes, 191);

	memcpy(bytes, open_v1, sizeof(open_v1));
	assert_status(librsvd_open_context_pull(*state, &v1, 1, REQUEST_ID,
						&response),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);

	bytes[0] = 2;
	assert_status(librsvd_open_context_pull(*state, &v2, 2, REQUEST_ID,
						&response),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);
}

static void an_open_answer_that_lies_is_refused(void **state)
{
	/* Where, what: version, boolean, request id, length of the name. */
	static const struct {
		size_t offset;
		uint8_t value;
	} lies[] = {
		{ 0, 2 }, { 4, 2 }, { 32, 0x1F }, { 40, 127 }, { 41, 1 },
	};
	struct librsvd_open_response response;
	uint8_t bytes[168] = { 0 };
	DATA_BLOB blob = data_blob_const(bytes, sizeof(bytes));
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lies); i++) {
		memset(bytes, 0, sizeof(bytes));
		memcpy(bytes, open_v1, sizeof(open_v1));
		bytes[lies[i].offset] = lies[i].value;

		assert_status(librsvd_open_context_pull(*state, &blob, 1,
							REQUEST_ID, &response),
			      NT_STATUS_INVALID_NETWORK_RESPONSE);
	}
}

static void only_a_version_1_open_may_be_answered_without_context(void **state)
{
	struct librsvd_open_response response;

	assert_status(librsvd_open_context_pull(*state, NULL, 1, REQUEST_ID,
						&response),
		      NT_STATUS_OK);
	assert_int_equal(response.version, 0);

	assert_status(librsvd_open_context_pull(*state, NULL, 2, REQUEST_ID,
						&response),
		      NT_STATUS_NOT_SUPPORTED);
}

static void a_snapshot_is_named_by_an_extended_attribute(void **state)
{
	/* MS-FSCC 2.4.15, MS-RSVD 3.1.4.24, 2.2.4.34 */
	static const uint8_t expected[57] = {
		0x00, 0x00, 0x00, 0x00,	/* NextEntryOffset */
		0x80,			/* Flags: FILE_NEED_EA */
		24,			/* EaNameLength */
		24, 0,			/* EaValueLength */
		'R', 'S', 'V', 'D', '_', 'T', 'A', 'R', 'G', 'E', 'T', '_',
		'S', 'P', 'E', 'C', 'I', 'F', 'I', 'E', 'R', '_', 'E', 'A',
		0,
		0x00, 0x00, 0x00, 0x00,	/* namespace: SnapshotId */
		0x01, 0x00, 0x00, 0x00,	/* SvhdxSnapshotTypeVM */
		0x20, 0x0D, 0x77, 0x07, 0x27, 0x1F, 0x83, 0x40,
		0x45, 0x79, 0xD4, 0x6F, 0x5A, 0xC4, 0x3B, 0x73,
	};
	DATA_BLOB blob;

	assert_status(librsvd_target_specifier_push(*state, &initiator, &blob),
		      NT_STATUS_OK);

	assert_int_equal(blob.length, sizeof(expected));
	assert_memory_equal(blob.data, expected, sizeof(expected));
}

/*
 * The tunnel
 */

static const uint8_t initial_info_answer[40] = {
	0x01, 0x10, 0x00, 0x02,	/* RSVD_TUNNEL_GET_INITIAL_INFO_OPERATION */
	0x00, 0x00, 0x00, 0x00,	/* Status */
	0x1E, 0x87, 0xC7, 0x1E, 0x00, 0x00, 0x00, 0x00, /* RequestId */
	0x01, 0x00, 0x00, 0x00,	/* ServerVersion */
	0x00, 0x02, 0x00, 0x00,	/* SectorSize */
	0x00, 0x01, 0x00, 0x00,	/* PhysicalSectorSize */
	0x00, 0x00, 0x00, 0x00,	/* Reserved */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40, /* VirtualSize */
};

static void a_tunnel_answer_is_split_into_status_and_payload(void **state)
{
	DATA_BLOB output = data_blob_const(initial_info_answer,
					   sizeof(initial_info_answer));
	NTSTATUS tunnel_status = NT_STATUS_UNSUCCESSFUL;
	DATA_BLOB payload;

	assert_status(librsvd_tunnel_parse(&output, LIBRSVD_GET_INITIAL_INFO,
					   REQUEST_ID, &tunnel_status,
					   &payload),
		      NT_STATUS_OK);

	assert_status(tunnel_status, NT_STATUS_OK);
	assert_int_equal(payload.length, 24);
	assert_ptr_equal(payload.data, initial_info_answer + 16);
}

static void a_tunnel_answer_to_another_request_is_refused(void **state)
{
	DATA_BLOB output = data_blob_const(initial_info_answer,
					   sizeof(initial_info_answer));
	NTSTATUS tunnel_status;
	DATA_BLOB payload;

	assert_status(librsvd_tunnel_parse(&output, LIBRSVD_GET_INITIAL_INFO,
					   REQUEST_ID + 1, &tunnel_status,
					   &payload),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);
	assert_status(librsvd_tunnel_parse(&output, LIBRSVD_GET_DISK_INFO,
					   REQUEST_ID, &tunnel_status,
					   &payload),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);
}

static void a_tunnel_answer_shorter_than_its_header_is_refused(void **state)
{
	NTSTATUS tunnel_status;
	DATA_BLOB payload;
	size_t length;

	for (length = 0; length < 16; length++) {
		DATA_BLOB output = data_blob_const(initial_info_answer,
						   length);

		assert_status(librsvd_tunnel_parse(
				      &output, LIBRSVD_GET_INITIAL_INFO,
				      REQUEST_ID, &tunnel_status, &payload),
			      NT_STATUS_INVALID_NETWORK_RESPONSE);
	}
}

/* MS-RSVD 4.2: READ CAPACITY (10) was answered with 8 bytes. */
static const uint8_t scsi_answer[44] = {
	0x24, 0x00,		/* Length */
	0x81,			/* SenseInfoAutoGenerated, SrbStatus */
	0x00,			/* ScsiStatus */
	0x10, 0x14, 0x01, 0x00,	/* CDBLength, SenseInfoExLength, Disposition */
	0x4A, 0x01, 0x20, 0x00,	/* SrbFlags */
	0x08, 0x00, 0x00, 0x00,	/* DataTransferLength */
	0x70, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x0A, 0x00, 0x00,
	0x00, 0x00, 0x24, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x1F, 0xFF, 0xFF, 0x00, 0x00, 0x02, 0x00,
};

static void a_scsi_answer_gives_status_sense_and_data(void **state)
{
	DATA_BLOB payload = data_blob_const(scsi_answer, sizeof(scsi_answer));
	struct librsvd_scsi_result result;

	assert_status(librsvd_scsi_parse(*state, &payload, 8, &result),
		      NT_STATUS_OK);

	assert_int_equal(result.sense.srb_status, LIBRSVD_SRB_SUCCESS);
	assert_true(result.sense.auto_generated);
	assert_int_equal(result.sense.scsi_status, 0);
	assert_int_equal(result.sense.length, 20);
	assert_memory_equal(result.sense.data, scsi_answer + 16, 20);
	assert_int_equal(result.data_in_length, 8);
	assert_memory_equal(result.data_in, scsi_answer + 36, 8);
}

static void zeros_after_a_scsi_answer_are_no_data(void **state)
{
	uint8_t bytes[512] = { 0 };
	DATA_BLOB payload = data_blob_const(bytes, sizeof(bytes));
	struct librsvd_scsi_result result;

	memcpy(bytes, scsi_answer, sizeof(scsi_answer));

	assert_status(librsvd_scsi_parse(*state, &payload, 476, &result),
		      NT_STATUS_OK);

	assert_int_equal(result.data_in_length, 8);
}

static void a_scsi_answer_with_more_data_than_it_carries_is_refused(
	void **state)
{
	DATA_BLOB payload = data_blob_const(scsi_answer,
					    sizeof(scsi_answer) - 1);
	struct librsvd_scsi_result result;

	assert_status(librsvd_scsi_parse(*state, &payload, 8, &result),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);
}

static void a_scsi_answer_with_more_data_than_asked_for_is_refused(
	void **state)
{
	DATA_BLOB payload = data_blob_const(scsi_answer, sizeof(scsi_answer));
	struct librsvd_scsi_result result;

	assert_status(librsvd_scsi_parse(*state, &payload, 7, &result),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);
}

static void sense_longer_than_its_buffer_is_refused(void **state)
{
	uint8_t bytes[sizeof(scsi_answer)] = { 0 };
	DATA_BLOB payload = data_blob_const(bytes, sizeof(bytes));
	struct librsvd_scsi_result result;

	memcpy(bytes, scsi_answer, sizeof(bytes));
	bytes[5] = 21;

	assert_status(librsvd_scsi_parse(*state, &payload, 8, &result),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);
}

/*
 * Meta-operations and VHD sets
 */

static void a_resize_has_the_bytes_of_the_text(void **state)
{
	/* MS-RSVD 2.2.4.17, 2.2.4.17.4 */
	static const uint8_t expected[36] = {
		0x20, 0x0D, 0x77, 0x07, 0x27, 0x1F, 0x83, 0x40,
		0x45, 0x79, 0xD4, 0x6F, 0x5A, 0xC4, 0x3B, 0x73,
		0x00, 0x00, 0x00, 0x00,	/* SvhdxMetaOperationTypeResize */
		0x00, 0x00, 0x00, 0x00,	/* Reserved */
		0x00, 0x00, 0x00, 0x80, 0x02, 0x00, 0x00, 0x00,	/* NewSize */
		0x01, 0x00, 0x00, 0x00,	/* ExpandOnly */
	};
	struct librsvd_meta_operation operation = {
		.type = LIBRSVD_META_RESIZE,
		.resize = { .new_size = 10ULL << 30, .expand_only = true },
	};
	DATA_BLOB blob;

	assert_status(librsvd_meta_operation_push(*state, &initiator,
						  &operation, &blob),
		      NT_STATUS_OK);

	assert_int_equal(blob.length, sizeof(expected));
	assert_memory_equal(blob.data, expected, sizeof(expected));
}

static void a_conversion_names_its_target_with_terminator(void **state)
{
	/* MS-RSVD 2.2.4.17.3 */
	static const uint8_t expected[18] = {
		14, 0, 0, 0,
		'a', 0, '.', 0, 'v', 0, 'h', 0, 'd', 0, 's', 0, 0, 0,
	};
	struct librsvd_meta_operation operation = {
		.type = LIBRSVD_META_CONVERT_TO_VHDSET,
		.convert_to_vhdset = { .destination = "a.vhds" },
	};
	DATA_BLOB blob;

	assert_status(librsvd_meta_operation_push(*state, &initiator,
						  &operation, &blob),
		      NT_STATUS_OK);

	assert_int_equal(blob.length, 24 + sizeof(expected));
	assert_memory_equal(blob.data + 24, expected, sizeof(expected));
}

static void a_conversion_without_name_is_refused(void **state)
{
	struct librsvd_meta_operation operation = {
		.type = LIBRSVD_META_CONVERT_TO_VHDSET,
	};
	DATA_BLOB blob;

	assert_status(librsvd_meta_operation_push(*state, &initiator,
						  &operation, &blob),
		      NT_STATUS_INVALID_PARAMETER);
}

static void a_list_of_snapshots_is_taken_apart(void **state)
{
	/* MS-RSVD 2.2.4.20 */
	static const uint8_t bytes[32] = {
		0x02, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF,
		0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
		0x20, 0x0D, 0x77, 0x07, 0x27, 0x1F, 0x83, 0x40,
		0x45, 0x79, 0xD4, 0x6F, 0x5A, 0xC4, 0x3B, 0x73,
	};
	struct librsvd_vhdset_information info;

	assert_status(librsvd_vhdset_parse(*state, bytes, sizeof(bytes),
					   &info),
		      NT_STATUS_OK);

	assert_int_equal(info.type, LIBRSVD_VHDSET_SNAPSHOT_LIST);
	assert_true(info.complete);
	assert_int_equal(info.num_snapshots, 1);
	assert_memory_equal(info.snapshot_ids[0].bytes, initiator.bytes, 16);
}

static void a_list_longer_than_its_message_is_refused(void **state)
{
	uint8_t bytes[32] = {
		0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
	};
	struct librsvd_vhdset_information info;

	assert_status(librsvd_vhdset_parse(*state, bytes, sizeof(bytes),
					   &info),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);

	/* Nor is memory taken for what cannot be there. */
	memset(bytes + 12, 0xFF, 4);
	assert_status(librsvd_vhdset_parse(*state, bytes, sizeof(bytes),
					   &info),
		      NT_STATUS_INVALID_NETWORK_RESPONSE);
}

/*
 * Words
 */

static void a_guid_survives_text(void **state)
{
	struct librsvd_guid guid;

	assert_true(librsvd_guid_parse("07770d20-1f27-4083-4579-d46f5ac43b73",
				       &guid));
	assert_memory_equal(guid.bytes, initiator.bytes, 16);
	assert_string_equal(librsvd_guid_string(*state, &guid),
			    "07770d20-1f27-4083-4579-d46f5ac43b73");
}

static void what_is_no_guid_is_refused(void **state)
{
	struct librsvd_guid guid;

	assert_false(librsvd_guid_parse("", &guid));
	assert_false(librsvd_guid_parse("07770d20", &guid));
	assert_false(librsvd_guid_parse("07770d20-1f27-4083-4579-d46f5ac43b7g",
					&guid));
	assert_false(librsvd_guid_parse("0123456789abcdef", &guid));
}

static void the_status_codes_of_the_protocol_have_names(void **state)
{
	assert_string_equal(
		librsvd_status_string(*state, NT_STATUS(0xC05C0007)),
		"STATUS_SVHDX_ERROR_STORED|7");
	assert_string_equal(
		librsvd_status_string(*state, NT_STATUS(0xC05CFF07)),
		"STATUS_SVHDX_RESERVATION_CONFLICT");
	assert_string_equal(
		librsvd_status_string(*state, NT_STATUS(0xC05CFF0A)),
		"STATUS_VHD_SHARED");
	assert_string_equal(
		librsvd_status_string(*state, NT_STATUS(0xC0000043)),
		"NT_STATUS_SHARING_VIOLATION");
}

static void only_error_stored_has_a_key(void **state)
{
	uint8_t key = 0;

	assert_true(librsvd_status_is_stored(NT_STATUS(0xC05C00FE), &key));
	assert_int_equal(key, 0xFE);
	assert_false(librsvd_status_is_stored(NT_STATUS(0xC05CFF00), &key));
	assert_false(librsvd_status_is_stored(NT_STATUS_OK, &key));
}

static void sense_is_told_in_words_in_both_formats(void **state)
{
	static const uint8_t fixed[18] = {
		0x70, 0, 0x05, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0x00,
	};
	static const uint8_t descriptor[8] = { 0x72, 0x06, 0x2A, 0x03 };

	assert_string_equal(
		librsvd_sense_string(*state, fixed, sizeof(fixed)),
		"ILLEGAL REQUEST, invalid field in CDB (05/24/00)");
	assert_string_equal(
		librsvd_sense_string(*state, descriptor, sizeof(descriptor)),
		"UNIT ATTENTION, reservations preempted (06/2A/03)");
	assert_string_equal(librsvd_sense_string(*state, fixed, 2),
			    "no sense data");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* Where pointers have 64 bits. A program that was compiled relies on them. */
static void structures_keep_their_sizes(void **state)
{
	static const struct {
		size_t size, expected;
	} sizes[] = {
		{ sizeof(struct librsvd_guid), 16 },
		{ sizeof(struct librsvd_range), 16 },
		{ sizeof(struct librsvd_connect_params), 160 },
		{ sizeof(struct librsvd_open_params), 128 },
		{ sizeof(struct librsvd_initial_info), 56 },
		{ sizeof(struct librsvd_sense), 56 },
		{ sizeof(struct librsvd_disk_info), 88 },
		{ sizeof(struct librsvd_scsi_command), 96 },
		{ sizeof(struct librsvd_scsi_result), 104 },
		{ sizeof(struct librsvd_support), 40 },
		{ sizeof(struct librsvd_meta_operation), 296 },
		{ sizeof(struct librsvd_vhdset_information), 152 },
		{ sizeof(struct librsvd_change_tracking_params), 112 },
	};
	size_t i;

	if (sizeof(void *) != 8) {
		skip();
	}
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(sizes[i].size, sizes[i].expected);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_version_1_open_context_has_the_bytes_of_the_example),
		TEST(a_version_2_open_context_adds_24_zeros),
		TEST(without_initiator_the_field_is_zero),
		TEST(a_host_name_of_63_characters_fits),
		TEST(a_host_name_of_64_characters_is_refused),
		TEST(a_version_1_answer_is_taken_apart),
		TEST(a_version_2_answer_tells_the_geometry),
		TEST(an_open_answer_one_byte_short_is_refused),
		TEST(an_open_answer_that_lies_is_refused),
		TEST(only_a_version_1_open_may_be_answered_without_context),
		TEST(a_snapshot_is_named_by_an_extended_attribute),
		TEST(a_tunnel_answer_is_split_into_status_and_payload),
		TEST(a_tunnel_answer_to_another_request_is_refused),
		TEST(a_tunnel_answer_shorter_than_its_header_is_refused),
		TEST(a_scsi_answer_gives_status_sense_and_data),
		TEST(zeros_after_a_scsi_answer_are_no_data),
		TEST(a_scsi_answer_with_more_data_than_it_carries_is_refused),
		TEST(a_scsi_answer_with_more_data_than_asked_for_is_refused),
		TEST(sense_longer_than_its_buffer_is_refused),
		TEST(a_resize_has_the_bytes_of_the_text),
		TEST(a_conversion_names_its_target_with_terminator),
		TEST(a_conversion_without_name_is_refused),
		TEST(a_list_of_snapshots_is_taken_apart),
		TEST(a_list_longer_than_its_message_is_refused),
		TEST(a_guid_survives_text),
		TEST(what_is_no_guid_is_refused),
		TEST(the_status_codes_of_the_protocol_have_names),
		TEST(only_error_stored_has_a_key),
		TEST(sense_is_told_in_words_in_both_formats),
		TEST(structures_keep_their_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
