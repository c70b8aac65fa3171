/*
 * vfs_rsvd: the tunnel, byte for byte
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "lib/util/byteorder.h"
#include "librpc/ndr/libndr.h"
#include "librpc/gen_ndr/ndr_misc.h"
#include "librpc/gen_ndr/ndr_rsvd.h"
#include "modules/scsi/scsi.h"
#include "tests/unit/rsvd_fixture.h"

#define assert_status(status, expected) \
	assert_int_equal(NT_STATUS_V(status), NT_STATUS_V(expected))

#define REQUEST_ID 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88

/* Operation code (low byte first), Status, RequestId */
#define HEADER(b0, b1) (b0), (b1), 0x00, 0x02, 0, 0, 0, 0, REQUEST_ID

static int setup(void **state)
{
	*state = rsvd_fixture_init(false);
	return *state != NULL ? 0 : -1;
}

static int setup_fixed(void **state)
{
	*state = rsvd_fixture_init(true);
	return *state != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	rsvd_fixture_free(*state);
	return 0;
}

static struct rsvd_open *open_disk(struct rsvd_fixture *f, int process)
{
	struct rsvd_fixture_open o = rsvd_fixture_default_open(process);
	struct rsvd_open *open = rsvd_fixture_open(f, &o);

	assert_non_null(open);
	return open;
}

static struct rsvd_open *open_vhd_set(struct rsvd_fixture *f)
{
	struct rsvd_fixture_open o = rsvd_fixture_default_open(0);
	struct rsvd_open *open = NULL;

	o.file_name = "dir/disk.VHDS";
	open = rsvd_fixture_open(f, &o);
	assert_non_null(open);
	return open;
}

static NTSTATUS tunnel(struct rsvd_fixture *f, struct rsvd_open *open,
		       const uint8_t *in, size_t in_length,
		       uint32_t max_output, DATA_BLOB *out)
{
	DATA_BLOB input = data_blob_const(in, in_length);

	*out = data_blob_null;
	return rsvd_tunnel_dispatch(open, f, &input, max_output, out);
}

/* The status of the FSCTL */
#define assert_fails(f, open, in, max_output, expected) do {		\
	DATA_BLOB _out;							\
	assert_status(tunnel((f), (open), (in), sizeof(in),		\
			     (max_output), &_out), (expected));		\
	assert_int_equal(_out.length, 0);				\
} while (0)

/* The status in the header of the response */
static void assert_header_status(const uint8_t *in, DATA_BLOB out,
				 NTSTATUS expected)
{
	assert_true(out.length >= 16);
	assert_memory_equal(out.data, in, 4);
	assert_int_equal(IVAL(out.data, 4), NT_STATUS_V(expected));
	assert_memory_equal(out.data + 8, in + 8, 8);
}

#define assert_answers(f, open, in, max_output, expected) do {		\
	DATA_BLOB _out;							\
	assert_status(tunnel((f), (open), (in), sizeof(in),		\
			     (max_output), &_out), NT_STATUS_OK);	\
	assert_header_status((in), _out, (expected));			\
} while (0)

#define assert_bytes(out, expected) do {				\
	assert_int_equal((out).length, sizeof(expected));		\
	assert_memory_equal((out).data, (expected), sizeof(expected));	\
} while (0)

static void a_plain_handle_has_no_tunnel(void **state)
{
	static const uint8_t in[] = { HEADER(0x03, 0x10) };

	assert_fails(*state, NULL, in, 100, NT_STATUS_INVALID_PARAMETER);
}

static void half_a_header_is_too_small(void **state)
{
	static const uint8_t in[] = { HEADER(0x03, 0x10) };
	struct rsvd_open *open = open_disk(*state, 0);
	DATA_BLOB out;
	size_t length;

	for (length = 0; length < 16; length++) {
		assert_status(tunnel(*state, open, in, length, 100, &out),
			      NT_STATUS_BUFFER_TOO_SMALL);
	}
}

static void a_code_of_another_protocol_is_no_request(void **state)
{
	static const uint8_t in[] = {
		0x01, 0x10, 0x00, 0x03, 0, 0, 0, 0, REQUEST_ID,
	};

	assert_fails(*state, open_disk(*state, 0), in, 100,
		     NT_STATUS_INVALID_DEVICE_REQUEST);
}

static void a_version_that_is_not_served_mismatches(void **state)
{
	static const uint8_t version_2[] = { HEADER(0x0d, 0x20) };
	static const uint8_t version_3[] = { HEADER(0x01, 0x30) };
	static const uint8_t version_0x101[] = {
		0x01, 0x10, 0x10, 0x02, 0, 0, 0, 0, REQUEST_ID,
	};
	struct rsvd_fixture_open o = rsvd_fixture_default_open(0);
	struct rsvd_open *old = NULL;
	struct rsvd_open *open = open_disk(*state, 0);

	o.server_version = 1;
	o.context_version = 1;
	old = rsvd_fixture_open(*state, &o);
	assert_non_null(old);

	assert_answers(*state, old, version_2, 100,
		       NT_STATUS_SVHDX_VERSION_MISMATCH);
	assert_answers(*state, open, version_2, 100, NT_STATUS_OK);
	assert_answers(*state, open, version_3, 100,
		       NT_STATUS_SVHDX_VERSION_MISMATCH);
	assert_answers(*state, open, version_0x101, 100,
		       NT_STATUS_SVHDX_VERSION_MISMATCH);
}

static void an_unknown_operation_is_an_invalid_parameter(void **state)
{
	static const uint8_t unknown_1[] = { HEADER(0x07, 0x10) };
	static const uint8_t unknown_2[] = { HEADER(0x01, 0x20) };
	struct rsvd_open *open = open_disk(*state, 0);

	assert_answers(*state, open, unknown_1, 16,
		       NT_STATUS_INVALID_PARAMETER);
	assert_answers(*state, open, unknown_2, 16,
		       NT_STATUS_INVALID_PARAMETER);
	assert_fails(*state, open, unknown_1, 15, NT_STATUS_BUFFER_TOO_SMALL);
}

static void the_status_of_a_request_is_ignored(void **state)
{
	static const uint8_t in[] = {
		0x03, 0x10, 0x00, 0x02, 0xff, 0xff, 0xff, 0xff, REQUEST_ID,
	};

	assert_answers(*state, open_disk(*state, 0), in, 16, NT_STATUS_OK);
}

static void each_operation_needs_room_for_its_answer(void **state)
{
	static const struct {
		uint8_t code[2];
		uint32_t size;
		NTSTATUS status;
	} operations[] = {
		{ { 0x01, 0x10 }, 40, NT_STATUS_BUFFER_TOO_SMALL },
		{ { 0x02, 0x10 }, 52, NT_STATUS_INVALID_PARAMETER },
		{ { 0x03, 0x10 }, 16, NT_STATUS_BUFFER_OVERFLOW },
		{ { 0x04, 0x10 }, 40, NT_STATUS_INVALID_PARAMETER },
		{ { 0x05, 0x10 }, 72, NT_STATUS_BUFFER_TOO_SMALL },
		{ { 0x06, 0x10 }, 17, NT_STATUS_BUFFER_TOO_SMALL },
		{ { 0x0d, 0x20 }, 24, NT_STATUS_BUFFER_TOO_SMALL },
	};
	struct rsvd_open *open = open_disk(*state, 0);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(operations); i++) {
		uint8_t in[16 + 56] = { HEADER(0, 0) };
		DATA_BLOB out;

		in[0] = operations[i].code[0];
		in[1] = operations[i].code[1];
		assert_fails(*state, open, in, operations[i].size - 1,
			     operations[i].status);
		assert_status(tunnel(*state, open, in, sizeof(in),
				     operations[i].size, &out),
			      in[0] == 0x04 ?
			      NT_STATUS_SVHDX_ERROR_NOT_AVAILABLE :
			      NT_STATUS_OK);
		assert_true(out.length <= operations[i].size);
	}
}

/* 3.2.5.5.1 */
static void initial_info_tells_version_and_sizes(void **state)
{
	static const uint8_t in[] = { HEADER(0x01, 0x10) };
	static const uint8_t expected[] = {
		HEADER(0x01, 0x10),
		0x02, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00,
		0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00,
	};
	DATA_BLOB out;

	assert_status(tunnel(*state, open_disk(*state, 0), in, sizeof(in),
			     40, &out), NT_STATUS_OK);
	assert_bytes(out, expected);
}

/* 3.2.5.5.2 */
static void the_connection_status_is_a_header(void **state)
{
	static const uint8_t in[] = { HEADER(0x03, 0x10) };
	DATA_BLOB out;

	assert_status(tunnel(*state, open_disk(*state, 0), in, sizeof(in),
			     16, &out), NT_STATUS_OK);
	assert_bytes(out, in);
}

/* 3.2.5.5.3, 6 <12>, <16> */
static void the_sense_of_a_read_without_initiator_is_that_of_windows(
	void **state)
{
	static const uint8_t in[16 + 28] = { HEADER(0x04, 0x10), 0x01, };
	static const uint8_t expected[] = {
		HEADER(0x04, 0x10),
		0x01, 0x02, 0x02, 0x14,
		0xf0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0a,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00,
	};
	struct rsvd_fixture_open o = rsvd_fixture_default_open(0);
	struct rsvd_open *open = NULL;
	DATA_BLOB out;

	ZERO_STRUCT(o.initiator);
	open = rsvd_fixture_open(*state, &o);
	assert_non_null(open);
	assert_int_equal(NT_STATUS_V(rsvd_open_check_io(open, false)),
			 0xc05c0001);

	assert_status(tunnel(*state, open, in, sizeof(in), 40, &out),
		      NT_STATUS_OK);
	assert_bytes(out, expected);
}

static void the_sense_of_a_full_file_system_is_told(void **state)
{
	static const uint8_t in[16 + 28] = { HEADER(0x04, 0x10), 0x02, };
	/* DATA PROTECT, SPACE ALLOCATION FAILED WRITE PROTECT */
	static const uint8_t expected[] = {
		HEADER(0x04, 0x10),
		0x02, 0x84, 0x02, 0x14,
		0x70, 0x00, 0x07, 0x00, 0x00, 0x00, 0x00, 0x0a,
		0x00, 0x00, 0x00, 0x00, 0x27, 0x07, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00,
	};
	struct rsvd_open *open = open_disk(*state, 0);
	DATA_BLOB out;

	rsvd_open_store_error(open, false, NT_STATUS_IO_DEVICE_ERROR);
	rsvd_open_store_error(open, true, NT_STATUS_DISK_FULL);

	assert_status(tunnel(*state, open, in, sizeof(in), 40, &out),
		      NT_STATUS_OK);
	assert_bytes(out, expected);
}

static void an_error_that_was_not_stored_is_not_available(void **state)
{
	static const uint8_t in[16 + 28] = { HEADER(0x04, 0x10), 0x01, };
	struct rsvd_open *open = open_disk(*state, 0);
	struct rsvd_open *other = open_disk(*state, 0);

	rsvd_open_store_error(other, true, NT_STATUS_DISK_FULL);
	assert_fails(*state, open, in, 40,
		     NT_STATUS_SVHDX_ERROR_NOT_AVAILABLE);
}

static void a_status_request_without_a_key_is_refused(void **state)
{
	static const uint8_t in[] = { HEADER(0x04, 0x10) };

	assert_fails(*state, open_disk(*state, 0), in, 40,
		     NT_STATUS_INVALID_PARAMETER);
}

/* 3.2.5.5.4, 6 <18> */
static void disk_info_of_a_dynamic_disk(void **state)
{
	struct rsvd_fixture *f = *state;
	static const uint8_t in[16 + 56] = { HEADER(0x05, 0x10) };
	static const uint8_t expected[] = {
		HEADER(0x05, 0x10),
		0x03, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x01, 0x01, 0x00, 0x00,
	};
	struct GUID_ndr_buf guid;
	uint64_t size;
	DATA_BLOB out;

	assert_status(tunnel(f, open_disk(f, 0), in, sizeof(in), 72, &out),
		      NT_STATUS_OK);
	assert_int_equal(out.length, 72);
	assert_memory_equal(out.data, expected, sizeof(expected));

	size = f->storage->ops->size(f->storage->private_data);
	assert_int_equal(BVAL(out.data, 48), size);
	assert_int_not_equal(size, 0);
	GUID_to_ndr_buf(&vhdx_geometry(f->image)->virtual_disk_id, &guid);
	assert_memory_equal(out.data + 56, guid.buf, 16);
}

/* 6 <17> */
static void disk_info_of_a_fixed_disk_has_no_block_size(void **state)
{
	static const uint8_t in[16 + 56] = { HEADER(0x05, 0x10) };
	static const uint8_t expected[] = {
		HEADER(0x05, 0x10),
		0x02, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00,
	};
	DATA_BLOB out;

	assert_status(tunnel(*state, open_disk(*state, 0), in, sizeof(in),
			     72, &out), NT_STATUS_OK);
	assert_int_equal(out.length, 72);
	assert_memory_equal(out.data, expected, sizeof(expected));
}

static void disk_info_of_a_vhd_set_says_so(void **state)
{
	static const uint8_t in[16 + 56] = { HEADER(0x05, 0x10) };
	DATA_BLOB out;

	assert_status(tunnel(*state, open_vhd_set(*state), in, sizeof(in),
			     72, &out), NT_STATUS_OK);
	assert_int_equal(out.length, 72);
	assert_int_equal(IVAL(out.data, 20), 4);
}

/* 3.2.5.5.6 */
static void an_open_disk_is_valid(void **state)
{
	static const uint8_t in[16 + 56] = { HEADER(0x06, 0x10) };
	static const uint8_t expected[] = { HEADER(0x06, 0x10), 0x01 };
	DATA_BLOB out;

	assert_status(tunnel(*state, open_disk(*state, 0), in, sizeof(in),
			     17, &out), NT_STATUS_OK);
	assert_bytes(out, expected);
}

static void a_raw_open_has_no_disk_to_ask_about(void **state)
{
	static const uint8_t codes[][2] = {
		{ 0x01, 0x10 }, { 0x02, 0x10 }, { 0x05, 0x10 },
		{ 0x06, 0x10 }, { 0x0d, 0x20 },
	};
	struct rsvd_fixture_open o = rsvd_fixture_default_open(0);
	struct rsvd_open *open = NULL;
	size_t i;

	o.originator = SVHDX_ORIGINATOR_VHDMP;
	open = rsvd_fixture_open(*state, &o);
	assert_non_null(open);

	for (i = 0; i < ARRAY_SIZE(codes); i++) {
		uint8_t in[16 + 56] = { HEADER(0, 0), 36, 0, 0, 0, 6, 20, 2 };

		in[0] = codes[i][0];
		in[1] = codes[i][1];
		assert_answers(*state, open, in, 100,
			       NT_STATUS_INVALID_DEVICE_REQUEST);
	}
}

/* 3.2.5.5.15 */
static void safe_size_ends_with_the_last_block_written(void **state)
{
	struct rsvd_fixture *f = *state;
	uint8_t sector[512] = { 1 };
	static const uint8_t in[] = { HEADER(0x0d, 0x20) };
	static const uint8_t expected[] = {
		HEADER(0x0d, 0x20),
		0x00, 0x00, 0x60, 0x00, 0x00, 0x00, 0x00, 0x00,
	};
	DATA_BLOB out;

	/* Block 5 of those of 1 MiB */
	assert_status(vhdx_write(f->image, sector, sizeof(sector), 0x500000),
		      NT_STATUS_OK);
	assert_status(tunnel(*state, open_disk(*state, 0), in, sizeof(in),
			     24, &out), NT_STATUS_OK);
	assert_bytes(out, expected);
}

/* 3.2.5.6 */
static void support_is_told_on_any_handle(void **state)
{
	static const uint8_t none_1[] = { 1, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t none_2[] = { 7, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t file_shared[] = { 7, 0, 0, 0, 1, 0, 0, 0 };
	static const uint8_t shared[] = { 7, 0, 0, 0, 3, 0, 0, 0 };
	struct rsvd_fixture *f = *state;
	struct rsvd_disk *disk = f->process[1];
	struct rsvd_open *open = NULL;
	DATA_BLOB out;

	assert_status(rsvd_tunnel_query_support(disk, NULL, 1, f, 8, &out),
		      NT_STATUS_OK);
	assert_bytes(out, none_1);
	assert_status(rsvd_tunnel_query_support(disk, NULL, 2, f, 8, &out),
		      NT_STATUS_OK);
	assert_bytes(out, none_2);

	open = open_disk(f, 0);
	assert_status(rsvd_tunnel_query_support(disk, NULL, 2, f, 8, &out),
		      NT_STATUS_OK);
	assert_bytes(out, file_shared);
	assert_status(rsvd_tunnel_query_support(f->process[0], open, 2, f, 8,
						&out), NT_STATUS_OK);
	assert_bytes(out, shared);

	f->dead[0] = true;
	assert_status(rsvd_tunnel_query_support(disk, NULL, 2, f, 8, &out),
		      NT_STATUS_OK);
	assert_bytes(out, none_2);

	assert_status(rsvd_tunnel_query_support(disk, NULL, 2, f, 7, &out),
		      NT_STATUS_BUFFER_TOO_SMALL);
}

/* SCSI: 3.2.5.5.5 */

/* Length, Reserved1, CDBLength, SenseInfoExLength, Disposition, Reserved2 */
#define SCSI(disposition) 36, 0, 0, 0, 16, 20, (disposition), 0
#define SRB_FLAGS 0x4a, 0x01, 0x20, 0x00

#define INQUIRY_36 0x12, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0

static const uint8_t inquiry[16 + 36] = {
	HEADER(0x02, 0x10), SCSI(1), SRB_FLAGS, 36, 0, 0, 0, INQUIRY_36,
};

static void inquiry_answers_with_its_data(void **state)
{
	static const uint8_t expected[] = {
		HEADER(0x02, 0x10),
		36, 0, 0x01, 0x00, 16, 20, 1, 0, SRB_FLAGS, 36, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		/* a direct access block device */
		0x00,
	};
	DATA_BLOB out;

	assert_status(tunnel(*state, open_disk(*state, 0), inquiry,
			     sizeof(inquiry), 1024, &out), NT_STATUS_OK);
	assert_int_equal(out.length, 16 + 36 + 36);
	assert_memory_equal(out.data, expected, sizeof(expected));
}

static void data_is_read_with_any_disposition(void **state)
{
	uint8_t disposition;

	for (disposition = 0; disposition <= 1; disposition++) {
		uint8_t in[sizeof(inquiry)];
		DATA_BLOB out;

		memcpy(in, inquiry, sizeof(in));
		in[16 + 6] = disposition;
		assert_status(tunnel(*state, open_disk(*state, 0), in,
				     sizeof(in), 1024, &out), NT_STATUS_OK);
		assert_int_equal(out.length, 16 + 36 + 36);
		assert_int_equal(out.data[16 + 6], disposition);
	}
}

static void an_unknown_command_is_a_check_condition(void **state)
{
	static const uint8_t in[16 + 36] = {
		HEADER(0x02, 0x10), SCSI(2), SRB_FLAGS, 0, 0, 0, 0, 0xff,
	};
	/* ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE */
	static const uint8_t expected[] = {
		HEADER(0x02, 0x10),
		36, 0, 0x84, 0x02, 16, 20, 2, 0, SRB_FLAGS, 0, 0, 0, 0,
		0x70, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x0a,
		0x00, 0x00, 0x00, 0x00, 0x20, 0x00, 0x00,
	};
	DATA_BLOB out;

	assert_status(tunnel(*state, open_disk(*state, 0), in, sizeof(in),
			     52, &out), NT_STATUS_OK);
	assert_int_equal(out.length, 52);
	assert_memory_equal(out.data, expected, sizeof(expected));
}

/* The request comes back, and Windows' zeros behind it: 6 <19> */
static void assert_refused(struct rsvd_fixture *f, struct rsvd_open *open,
			   const uint8_t *in, size_t length, NTSTATUS expected)
{
	static const uint8_t zeros[100];
	DATA_BLOB out;

	assert_status(tunnel(f, open, in, length, 100, &out), NT_STATUS_OK);
	assert_header_status(in, out, expected);
	assert_int_equal(out.length, 100);
	length = MIN(length, 52);
	assert_memory_equal(out.data + 16, in + 16, length - 16);
	assert_memory_equal(out.data + length, zeros, 100 - length);
}

static void a_malformed_scsi_request_comes_back(void **state)
{
	static const struct {
		size_t offset;
		uint8_t value;
	} faults[] = {
		{ 0, 35 }, { 0, 37 }, { 1, 1 }, /* Length */
		{ 4, 17 },	/* CDBLength */
		{ 5, 21 },	/* SenseInfoExLength */
	};
	struct rsvd_open *open = open_disk(*state, 0);
	uint8_t in[sizeof(inquiry)];
	uint8_t long_in[sizeof(inquiry) + 37] = {0};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		memcpy(in, inquiry, sizeof(in));
		in[16 + faults[i].offset] = faults[i].value;
		assert_refused(*state, open, in, sizeof(in),
			       NT_STATUS_INVALID_PARAMETER);
	}

	for (i = 16; i < sizeof(inquiry); i++) {
		assert_refused(*state, open, inquiry, i,
			       NT_STATUS_INVALID_PARAMETER);
	}

	/* More data than DataTransferLength, 36, says */
	memcpy(long_in, inquiry, sizeof(inquiry));
	assert_refused(*state, open, long_in, sizeof(long_in),
		       NT_STATUS_INVALID_PARAMETER);
}

static void scsi_needs_an_initiator(void **state)
{
	struct rsvd_fixture_open o = rsvd_fixture_default_open(0);
	struct rsvd_open *open = NULL;

	ZERO_STRUCT(o.initiator);
	open = rsvd_fixture_open(*state, &o);
	assert_non_null(open);
	assert_refused(*state, open, inquiry, sizeof(inquiry),
		       NT_STATUS_INVALID_HANDLE);
}

static void more_data_than_asked_for_fails_disposition_0(void **state)
{
	uint8_t in[sizeof(inquiry)];
	struct rsvd_open *open = open_disk(*state, 0);
	DATA_BLOB out;

	memcpy(in, inquiry, sizeof(in));
	in[16 + 12] = 8;	/* DataTransferLength */

	in[16 + 6] = 0;
	assert_fails(*state, open, in, 1024, NT_STATUS_INVALID_PARAMETER);

	in[16 + 6] = 1;
	assert_status(tunnel(*state, open, in, sizeof(in), 1024, &out),
		      NT_STATUS_OK);
	assert_int_equal(out.length, 16 + 36 + 8);
	assert_int_equal(out.data[16 + 2], 0x12);
	assert_int_equal(IVAL(out.data, 16 + 12), 8);
}

static void a_read_that_does_not_fit_the_answer_is_an_overrun(void **state)
{
	/* READ(10) of two blocks */
	static const uint8_t in[] = {
		HEADER(0x02, 0x10), SCSI(1), SRB_FLAGS, 0, 4, 0, 0,
		0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0,
	};
	struct rsvd_open *open = open_disk(*state, 0);
	DATA_BLOB out;

	assert_status(tunnel(*state, open, in, sizeof(in), 16 + 36 + 1024,
			     &out), NT_STATUS_OK);
	assert_int_equal(out.length, 16 + 36 + 1024);
	assert_int_equal(out.data[16 + 2], 0x01);

	assert_status(tunnel(*state, open, in, sizeof(in), 16 + 36 + 600,
			     &out), NT_STATUS_OK);
	assert_int_equal(out.length, 16 + 36 + 600);
	assert_int_equal(out.data[16 + 2], 0x12);
	assert_int_equal(IVAL(out.data, 16 + 12), 600);
}

/* WRITE(10) or READ(10) of block 8 */
static void transfer(uint8_t *in, uint8_t opcode, uint8_t disposition)
{
	const uint8_t start[] = {
		HEADER(0x02, 0x10), SCSI(disposition), SRB_FLAGS,
		0x00, 0x02, 0, 0,
		opcode, 0, 0, 0, 0, 8, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0,
	};

	memcpy(in, start, sizeof(start));
}

static void what_one_initiator_writes_another_reads(void **state)
{
	struct rsvd_open *writer = open_disk(*state, 0);
	struct rsvd_open *reader = open_disk(*state, 1);
	uint8_t in[16 + 36 + 512];
	DATA_BLOB out;

	memset(in + 52, 0x5a, 512);
	transfer(in, 0x2a, 0);
	assert_status(tunnel(*state, writer, in, sizeof(in), 52, &out),
		      NT_STATUS_OK);
	assert_int_equal(out.length, 52);
	assert_int_equal(out.data[16 + 2], 0x01);
	assert_int_equal(out.data[16 + 3], 0x00);

	transfer(in, 0x28, 1);
	assert_status(tunnel(*state, reader, in, 52, 52 + 512, &out),
		      NT_STATUS_OK);
	assert_int_equal(out.length, 52 + 512);
	assert_int_equal(out.data[16 + 2], 0x01);
	assert_memory_equal(out.data + 52, in + 52, 512);
}

static void data_goes_the_way_the_cdb_says(void **state)
{
	struct rsvd_open *open = open_disk(*state, 0);
	uint8_t in[16 + 36 + 512];
	uint8_t disposition;

	for (disposition = 0; disposition <= 1; disposition++) {
		DATA_BLOB out;

		memset(in + 52, 0x10 + disposition, 512);
		transfer(in, 0x2a, disposition);
		assert_status(tunnel(*state, open, in, sizeof(in), 52, &out),
			      NT_STATUS_OK);
		assert_int_equal(out.data[16 + 3], 0x00);

		/* A buffer to be filled, as in section 4.2 */
		memset(in + 52, 0, 512);
		transfer(in, 0x28, disposition);
		assert_status(tunnel(*state, open, in, sizeof(in), 1024, &out),
			      NT_STATUS_OK);
		assert_int_equal(out.length, 52 + 512);
		assert_int_equal(out.data[52], 0x10 + disposition);
		assert_int_equal(out.data[52 + 511], 0x10 + disposition);
	}
}

static void the_tunnel_does_not_write_for_who_may_not(void **state)
{
	struct rsvd_fixture_open o = rsvd_fixture_default_open(0);
	struct rsvd_open *open = NULL;
	uint8_t in[16 + 36 + 512] = {0};
	DATA_BLOB out;

	o.may_write = false;
	open = rsvd_fixture_open(*state, &o);
	assert_non_null(open);

	transfer(in, 0x2a, 0);
	assert_status(tunnel(*state, open, in, sizeof(in), 52, &out),
		      NT_STATUS_OK);
	assert_int_equal(out.data[16 + 3], 0x02);
	assert_int_equal(out.data[16 + 16 + 2], 0x07); /* DATA PROTECT */
}

static void the_tunnel_does_not_read_for_who_may_not(void **state)
{
	struct rsvd_fixture_open o = rsvd_fixture_default_open(0);
	struct rsvd_open *open = NULL;
	uint8_t in[16 + 36 + 512];
	DATA_BLOB out;

	o.may_read = false;
	open = rsvd_fixture_open(*state, &o);
	assert_non_null(open);

	transfer(in, 0x28, 1);
	assert_status(tunnel(*state, open, in, 52, 1024, &out), NT_STATUS_OK);
	assert_int_equal(out.length, 52);
	assert_int_equal(out.data[16 + 3], 0x02);
}

/* PERSISTENT RESERVE OUT with a parameter list of 24 bytes */
static void reserve_out(struct rsvd_fixture *f, struct rsvd_open *open,
			uint8_t action, uint8_t type, uint8_t key,
			uint8_t action_key, uint8_t scsi_status)
{
	const uint8_t in[16 + 36 + 24] = {
		HEADER(0x02, 0x10), SCSI(0), SRB_FLAGS, 24, 0, 0, 0,
		0x5f, action, type, 0, 0, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, key, 0, 0, 0, 0, 0, 0, 0, action_key,
	};
	DATA_BLOB out;

	assert_status(tunnel(f, open, in, sizeof(in), 52, &out),
		      NT_STATUS_OK);
	assert_int_equal(out.length, 52);
	assert_int_equal(out.data[16 + 3], scsi_status);
}

#define REGISTER	0x00
#define RESERVE		0x01
#define PREEMPT		0x04
#define PREEMPT_ABORT	0x05
#define WRITE_EXCLUSIVE_REGISTRANTS_ONLY 0x05

static void a_reservation_conflict_is_told_by_the_scsi_status(void **state)
{
	struct rsvd_open *holder = open_disk(*state, 0);
	struct rsvd_open *other = open_disk(*state, 1);
	uint8_t in[16 + 36 + 512] = {0};
	static const uint8_t expected[] = {
		HEADER(0x02, 0x10),
		36, 0, 0x04, 0x18, 16, 20, 0, 0, SRB_FLAGS, 0, 0, 0, 0,
	};
	DATA_BLOB out;

	reserve_out(*state, holder, REGISTER, 0, 0, 1, 0);
	reserve_out(*state, holder, RESERVE, WRITE_EXCLUSIVE_REGISTRANTS_ONLY,
		    1, 0, 0);

	transfer(in, 0x2a, 0);
	assert_status(tunnel(*state, other, in, sizeof(in), 52, &out),
		      NT_STATUS_OK);
	assert_int_equal(out.length, 52);
	assert_memory_equal(out.data, expected, sizeof(expected));
	assert_status(rsvd_open_check_io(other, true),
		      NT_STATUS_SVHDX_RESERVATION_CONFLICT);
}

static NTSTATUS remember_fence(const struct GUID *initiators,
			       size_t num_initiators, void *private_data)
{
	assert_int_equal(num_initiators, 1);
	*(struct GUID *)private_data = initiators[0];
	return NT_STATUS_OK;
}

/* What a cluster does when a node is gone: take its disk. */
static void a_challenger_preempts_and_the_owner_is_told(void **state)
{
	struct rsvd_fixture *f = *state;
	struct rsvd_open *owner = open_disk(f, 0);
	struct rsvd_open *challenger = open_disk(f, 1);
	struct GUID fenced = {0};

	rsvd_disk_set_fence(f->process[1], remember_fence, &fenced);
	reserve_out(f, owner, REGISTER, 0, 0, 1, 0);
	reserve_out(f, owner, RESERVE, WRITE_EXCLUSIVE_REGISTRANTS_ONLY,
		    1, 0, 0);
	assert_status(rsvd_open_check_io(challenger, true),
		      NT_STATUS_SVHDX_RESERVATION_CONFLICT);

	reserve_out(f, challenger, REGISTER, 0, 0, 2, 0);
	reserve_out(f, challenger, PREEMPT_ABORT,
		    WRITE_EXCLUSIVE_REGISTRANTS_ONLY, 2, 1, 0);

	assert_true(GUID_equal(&fenced, &rsvd_fixture_initiator[0]));
	assert_status(rsvd_open_check_io(challenger, true), NT_STATUS_OK);
	assert_int_equal(NT_STATUS_V(rsvd_open_check_io(owner, true))
			 & 0xffff0000, 0xc05c0000);
	/* One more for each unit attention that PREEMPT AND ABORT left */
	while (!NT_STATUS_EQUAL(rsvd_open_check_io(owner, true),
				NT_STATUS_SVHDX_RESERVATION_CONFLICT)) {
		;
	}
	assert_status(rsvd_open_check_io(owner, false), NT_STATUS_OK);
}

static NTSTATUS mode_changed(struct scsi_state *state, bool *changed,
			     void *fn_data)
{
	scsi_state_establish_ua(state, &rsvd_fixture_initiator[0],
				SCSI_UA_MODE_PARAMETERS_CHANGED);
	*changed = true;
	return NT_STATUS_OK;
}

static void a_unit_attention_without_a_status_is_stored_as_sense(void **state)
{
	static const uint8_t in[16 + 28] = { HEADER(0x04, 0x10), 0x01, };
	/* UNIT ATTENTION, MODE PARAMETERS CHANGED */
	static const uint8_t expected[] = {
		HEADER(0x04, 0x10),
		0x01, 0x84, 0x02, 0x14,
		0x70, 0x00, 0x06, 0x00, 0x00, 0x00, 0x00, 0x0a,
		0x00, 0x00, 0x00, 0x00, 0x2a, 0x01, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00,
	};
	struct rsvd_fixture *f = *state;
	struct rsvd_open *open = open_disk(f, 1);
	DATA_BLOB out;

	rsvd_disk_scsi_update(f->process[0], mode_changed, NULL);
	assert_int_equal(NT_STATUS_V(rsvd_open_check_io(open, false)),
			 0xc05c0001);
	assert_status(rsvd_open_check_io(open, false), NT_STATUS_OK);

	assert_status(tunnel(f, open, in, sizeof(in), 40, &out), NT_STATUS_OK);
	assert_bytes(out, expected);
}

/* Meta-operations: 3.2.5.5.7 */

#define TRANSACTION 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
#define META(type) HEADER(0x01, 0x21), TRANSACTION, (type), 0, 0, 0, 0, 0, 0, 0
#define GUID_ZERO 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0

static void an_unknown_meta_operation_is_refused(void **state)
{
	static const uint8_t in[] = { META(6) };
	DATA_BLOB out;

	assert_fails(*state, open_disk(*state, 0), in, 100,
		     NT_STATUS_INVALID_PARAMETER);
	assert_status(tunnel(*state, open_disk(*state, 0), in, 39, 100, &out),
		      NT_STATUS_BUFFER_TOO_SMALL);
}

/* Type, Flags, Stage1 to Stage6; SnapshotId and payload size are zero. */
struct create_snapshot {
	uint8_t bytes[92];
};

static struct create_snapshot create_snapshot(uint8_t type, uint8_t flags,
					      const uint8_t stages[6])
{
	struct create_snapshot r = {
		.bytes = { META(1), [40] = type, [44] = flags, },
	};
	int i;

	for (i = 0; i < 6; i++) {
		r.bytes[48 + 4 * i] = stages[i];
	}
	return r;
}

static void create_snapshot_is_checked_as_the_text_says(void **state)
{
	static const struct {
		uint8_t type;
		uint8_t flags;
		uint8_t stages[6];
		NTSTATUS status;
	} cases[] = {
		{ 1, 0, { 1, 2, 3, 4, 5, 0 }, NT_STATUS_INVALID_DEVICE_REQUEST },
		{ 1, 1, { 1 }, NT_STATUS_INVALID_DEVICE_REQUEST },
		{ 2, 0, { 1 }, NT_STATUS_INVALID_PARAMETER_1 },
		{ 1, 0, { 0 }, NT_STATUS_INVALID_PARAMETER_2 },
		{ 1, 0, { 1, 0, 2 }, NT_STATUS_INVALID_PARAMETER_3 },
		{ 1, 0, { 2, 2 }, NT_STATUS_INVALID_PARAMETER_4 },
		{ 1, 0, { 2, 1 }, NT_STATUS_INVALID_PARAMETER_4 },
		{ 4, 1, { 1 }, NT_STATUS_INVALID_PARAMETER_5 },
		{ 1, 1, { 2 }, NT_STATUS_INVALID_PARAMETER_5 },
		{ 1, 2, { 1 }, NT_STATUS_INVALID_PARAMETER_5 },
	};
	struct rsvd_open *open = open_disk(*state, 0);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct create_snapshot in = create_snapshot(
			cases[i].type, cases[i].flags, cases[i].stages);

		assert_fails(*state, open, in.bytes, 100, cases[i].status);
	}
}

static void create_snapshot_needs_all_its_bytes(void **state)
{
	static const uint8_t stages[6] = { 1 };
	struct create_snapshot in = create_snapshot(1, 0, stages);
	struct rsvd_open *open = open_disk(*state, 0);
	DATA_BLOB out;

	assert_status(tunnel(*state, open, in.bytes, 91, 100, &out),
		      NT_STATUS_BUFFER_TOO_SMALL);
	in.bytes[88] = 1;	/* ParametersPayloadSize */
	assert_fails(*state, open, in.bytes, 100, NT_STATUS_BUFFER_TOO_SMALL);
}

static void a_cdp_log_file_has_no_name(void **state)
{
	uint8_t in[92 + 24] = { META(1), [40] = 3, [48] = 1, [96] = 2, };
	struct rsvd_open *open = open_vhd_set(*state);
	DATA_BLOB out;

	assert_fails(*state, open, in, 100, NT_STATUS_INVALID_PARAMETER_6);

	in[96] = 0;
	assert_status(tunnel(*state, open, in, sizeof(in), 100, &out),
		      NT_STATUS_OK);
	assert_header_status(in, out, NT_STATUS_NOT_SUPPORTED);
	assert_int_equal(out.length, 20);
	assert_int_equal(IVAL(out.data, 16), 0xc03a0020);
}

static void optimize_has_nothing_to_do(void **state)
{
	static const uint8_t in[] = { META(2) };

	assert_answers(*state, open_disk(*state, 0), in, 16, NT_STATUS_OK);
}

static void extract_finds_no_snapshot(void **state)
{
	uint8_t in[88 + 4] = { META(3), [40] = 1, [84] = 4, [88] = 'x', };
	struct rsvd_open *open = open_disk(*state, 0);
	DATA_BLOB out;

	assert_fails(*state, open, in, 100, NT_STATUS_INVALID_PARAMETER);
	in[84] = 5;
	assert_fails(*state, open, in, 100, NT_STATUS_BUFFER_TOO_SMALL);
	in[84] = 0;
	assert_fails(*state, open, in, 100, NT_STATUS_INVALID_PARAMETER);
	assert_status(tunnel(*state, open, in, 87, 100, &out),
		      NT_STATUS_BUFFER_TOO_SMALL);
}

static void a_vhd_set_has_a_name_that_ends_in_vhds(void **state)
{
	static const uint8_t good[] = {
		META(4), 14, 0, 0, 0,
		'x', 0, '.', 0, 'v', 0, 'h', 0, 'd', 0, 's', 0, 0, 0,
	};
	static const uint8_t other_extension[] = {
		META(4), 14, 0, 0, 0,
		'x', 0, '.', 0, 'v', 0, 'h', 0, 'd', 0, 'x', 0, 0, 0,
	};
	static const uint8_t no_terminator[] = {
		META(4), 12, 0, 0, 0,
		'x', 0, '.', 0, 'v', 0, 'h', 0, 'd', 0, 's', 0,
	};
	static const uint8_t two_terminators[] = {
		META(4), 16, 0, 0, 0,
		'x', 0, '.', 0, 'v', 0, 'h', 0, 'd', 0, 's', 0, 0, 0, 0, 0,
	};
	static const uint8_t half_a_character[] = {
		META(4), 13, 0, 0, 0,
		'x', 0, '.', 0, 'v', 0, 'h', 0, 'd', 0, 's', 0, 0, 0,
	};
	static const uint8_t longer_than_sent[] = {
		META(4), 16, 0, 0, 0,
		'x', 0, '.', 0, 'v', 0, 'h', 0, 'd', 0, 's', 0, 0, 0,
	};
	struct rsvd_open *open = open_disk(*state, 0);
	DATA_BLOB out;

	assert_answers(*state, open, good, 16, NT_STATUS_NOT_SUPPORTED);
	assert_fails(*state, open, other_extension, 16,
		     NT_STATUS_INVALID_PARAMETER);
	assert_fails(*state, open, no_terminator, 16,
		     NT_STATUS_INVALID_PARAMETER);
	assert_fails(*state, open, two_terminators, 16,
		     NT_STATUS_INVALID_PARAMETER);
	assert_fails(*state, open, half_a_character, 16,
		     NT_STATUS_INVALID_PARAMETER);
	assert_fails(*state, open, longer_than_sent, 16,
		     NT_STATUS_BUFFER_TOO_SMALL);
	assert_status(tunnel(*state, open, good, 43, 16, &out),
		      NT_STATUS_BUFFER_TOO_SMALL);
}

static void resize_is_checked_as_the_text_says(void **state)
{
	/* NewSize 64 MiB */
	uint8_t in[52] = { META(0), 0, 0, 0, 4, 0, 0, 0, 0, 1, 0, 0, 0 };
	struct rsvd_open *open = open_disk(*state, 0);
	DATA_BLOB out;

	assert_answers(*state, open, in, 16, NT_STATUS_OK);
	assert_status(tunnel(*state, open, in, 51, 16, &out),
		      NT_STATUS_BUFFER_TOO_SMALL);

	in[43] = 3;	/* less than the disk, ExpandOnly */
	assert_fails(*state, open, in, 16, NT_STATUS_INVALID_PARAMETER);

	in[50] = 1;	/* ShrinkToMinimumSafeSize, with NewSize */
	assert_fails(*state, open, in, 16, NT_STATUS_INVALID_PARAMETER_1);
	in[43] = 0;	/* with ExpandOnly */
	assert_fails(*state, open, in, 16, NT_STATUS_INVALID_PARAMETER_1);
	in[48] = 0;
	in[49] = 1;	/* with AllowUnsafeVirtualSize */
	assert_fails(*state, open, in, 16, NT_STATUS_INVALID_PARAMETER_1);
}

static void assert_disk_size(struct rsvd_fixture *f, uint64_t size)
{
	assert_int_equal(vhdx_geometry(f->image)->virtual_size, size);
}

static void disk_gets_the_size_that_is_asked_for(void **state)
{
	/* NewSize 128 MiB, twice what the disk has; ExpandOnly */
	uint8_t in[52] = { META(0), 0, 0, 0, 8, 0, 0, 0, 0, 1, 0, 0, 0 };
	struct rsvd_fixture *f = *state;
	struct rsvd_open *open = open_disk(f, 0);
	uint8_t sector[512] = { 1 };

	assert_answers(f, open, in, 16, NT_STATUS_OK);
	assert_disk_size(f, 0x8000000);
	in[40] = 1;	/* not a number of sectors */
	assert_answers(f, open_disk(f, 1), in, 16,
		       NT_STATUS_INVALID_PARAMETER);
	assert_disk_size(f, 0x8000000);

	/* Data in block 5, and down to less than that */
	assert_status(vhdx_write(f->image, sector, sizeof(sector), 0x500000),
		      NT_STATUS_OK);
	in[40] = 0;
	in[43] = 0;
	in[42] = 0x10;
	in[48] = 0;
	assert_answers(f, open_disk(f, 1), in, 16, NT_STATUS(0xC03A0025));
	assert_disk_size(f, 0x8000000);

	in[42] = 0;
	in[50] = 1;	/* ShrinkToMinimumSafeSize */
	assert_answers(f, open_disk(f, 1), in, 16, NT_STATUS_OK);
	assert_disk_size(f, 0x600000);

	in[50] = 0;
	in[42] = 0x10;
	in[49] = 1;	/* AllowUnsafeVirtualSize */
	assert_answers(f, open_disk(f, 2), in, 16, NT_STATUS_OK);
	assert_disk_size(f, 0x100000);
}

static void every_initiator_hears_of_a_new_size(void **state)
{
	uint8_t in[52] = { META(0), 0, 0, 0, 8, 0, 0, 0, 0, 1, 0, 0, 0 };
	struct rsvd_fixture *f = *state;
	struct rsvd_open *open[2] = { open_disk(f, 0), open_disk(f, 1) };
	int i;

	assert_answers(f, open[0], in, 16, NT_STATUS_OK);
	for (i = 0; i < 2; i++) {
		/* MS-RSVD 2.2.3, and then it is told */
		assert_status(rsvd_open_check_io(open[i], false),
			      NT_STATUS(0xC05CFF02));
		assert_status(rsvd_open_check_io(open[i], false),
			      NT_STATUS_OK);
	}
}

static void who_may_not_write_does_not_resize(void **state)
{
	uint8_t in[52] = { META(0), 0, 0, 0, 8, 0, 0, 0, 0, 1, 0, 0, 0 };
	struct rsvd_fixture *f = *state;
	struct rsvd_fixture_open o = rsvd_fixture_default_open(0);

	o.may_write = false;
	assert_answers(f, rsvd_fixture_open(f, &o), in, 16,
		       NT_STATUS_ACCESS_DENIED);
	assert_disk_size(f, 0x4000000);
}

static void a_cdp_snapshot_is_not_applied(void **state)
{
	uint8_t in[60] = { META(5), [40] = 3, };
	struct rsvd_open *open = open_disk(*state, 0);
	DATA_BLOB out;

	assert_fails(*state, open, in, 16, NT_STATUS_INVALID_PARAMETER_1);
	in[40] = 1;
	assert_answers(*state, open, in, 16, NT_STATUS_NOT_SUPPORTED);
	assert_status(tunnel(*state, open, in, 59, 16, &out),
		      NT_STATUS_BUFFER_TOO_SMALL);
}

static void no_meta_operation_is_under_way(void **state)
{
	static const uint8_t in[] = { HEADER(0x02, 0x20), TRANSACTION };
	struct rsvd_open *open = open_disk(*state, 0);
	DATA_BLOB out;

	assert_answers(*state, open, in, 32, NT_STATUS_NOT_FOUND);
	assert_status(tunnel(*state, open, in, 31, 32, &out),
		      NT_STATUS_BUFFER_TOO_SMALL);
}

/* 3.2.5.5.9 */
static void a_query_is_checked_as_the_text_says(void **state)
{
	static const struct {
		uint8_t information;
		uint8_t snapshot;
		NTSTATUS status;
	} cases[] = {
		{ 0x03, 1, NT_STATUS_INVALID_PARAMETER_1 },
		{ 0x05, 2, NT_STATUS_INVALID_PARAMETER_1 },
		{ 0x02, 3, NT_STATUS_INVALID_PARAMETER_1 },
		{ 0x08, 1, NT_STATUS_INVALID_PARAMETER },
	};
	struct rsvd_open *set = open_vhd_set(*state);
	struct rsvd_open *disk = open_disk(*state, 0);
	uint8_t in[16 + 24] = { HEADER(0x05, 0x20), [16] = 2, [20] = 1 };
	uint8_t longer[16 + 25] = { HEADER(0x05, 0x20), [16] = 2, [20] = 1 };
	DATA_BLOB out;
	size_t i;

	assert_answers(*state, set, in, 100, NT_STATUS_NOT_SUPPORTED);
	assert_fails(*state, disk, in, 100, NT_STATUS_INVALID_DEVICE_REQUEST);
	assert_fails(*state, disk, longer, 100, NT_STATUS_BUFFER_TOO_SMALL);
	assert_status(tunnel(*state, disk, in, 39, 100, &out),
		      NT_STATUS_BUFFER_TOO_SMALL);

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		in[16] = cases[i].information;
		in[20] = cases[i].snapshot;
		assert_fails(*state, set, in, 100, cases[i].status);
	}
}

/* 3.2.5.5.10 */
static void delete_snapshot_is_checked_as_the_text_says(void **state)
{
	uint8_t in[16 + 24] = { HEADER(0x06, 0x20), [36] = 1 };
	struct rsvd_open *open = open_disk(*state, 0);
	DATA_BLOB out;

	assert_answers(*state, open, in, 16,
		       NT_STATUS_INVALID_DEVICE_REQUEST);
	in[36] = 3;
	assert_fails(*state, open, in, 16, NT_STATUS_SHARING_VIOLATION);
	in[32] = 1;
	assert_fails(*state, open, in, 16, NT_STATUS_INVALID_PARAMETER);
	assert_status(tunnel(*state, open, in, 39, 16, &out),
		      NT_STATUS_BUFFER_TOO_SMALL);
}

/* 3.2.5.5.11 to 3.2.5.5.14 */
static void no_changes_are_tracked(void **state)
{
	static const uint8_t get[] = { HEADER(0x08, 0x20) };
	static const uint8_t parameters[] = {
		HEADER(0x08, 0x20),
		0x20, 0x00, 0x3a, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	};
	static const uint8_t stop[] = { HEADER(0x0a, 0x20) };
	static const uint8_t stopped[] = {
		0x0a, 0x20, 0x00, 0x02, 0x20, 0x00, 0x3a, 0xc0, REQUEST_ID,
		0x20, 0x00, 0x3a, 0xc0,
	};
	uint8_t start[16 + 56] = { HEADER(0x09, 0x20) };
	uint8_t changes[16 + 56] = { HEADER(0x0c, 0x20), [48] = 1 };
	struct rsvd_open *open = open_disk(*state, 0);
	DATA_BLOB out;

	assert_status(tunnel(*state, open, get, sizeof(get), 32, &out),
		      NT_STATUS_OK);
	assert_bytes(out, parameters);
	assert_status(tunnel(*state, open, stop, sizeof(stop), 20, &out),
		      NT_STATUS_OK);
	assert_bytes(out, stopped);

	assert_answers(*state, open, start, 16, NT_STATUS_NOT_SUPPORTED);
	start[36] = 2;	/* LogFileNameLength */
	assert_fails(*state, open, start, 16, NT_STATUS_INVALID_PARAMETER);

	assert_fails(*state, open, changes, 100, NT_STATUS_NOT_FOUND);
	changes[48] = 3;
	assert_fails(*state, open, changes, 100, NT_STATUS_INVALID_PARAMETER);
	assert_status(tunnel(*state, open, changes, 71, 100, &out),
		      NT_STATUS_BUFFER_TOO_SMALL);
}

/*
 * Every length and a lot of content: nothing may fall over, and no answer is
 * larger than the client takes.
 */
static void garbage_is_answered_or_refused(void **state)
{
	static const uint8_t codes[][2] = {
		{ 0x01, 0x10 }, { 0x02, 0x10 }, { 0x03, 0x10 },
		{ 0x04, 0x10 }, { 0x05, 0x10 }, { 0x06, 0x10 },
		{ 0x01, 0x21 }, { 0x02, 0x20 }, { 0x05, 0x20 },
		{ 0x06, 0x20 }, { 0x08, 0x20 }, { 0x09, 0x20 },
		{ 0x0a, 0x20 }, { 0x0c, 0x20 }, { 0x0d, 0x20 },
	};
	struct rsvd_open *open = open_disk(*state, 0);
	uint32_t random = 1;
	size_t i, length;

	for (i = 0; i < ARRAY_SIZE(codes); i++) {
		for (length = 16; length < 200; length++) {
			uint8_t in[200] = { codes[i][0], codes[i][1], 0, 2 };
			size_t j;
			DATA_BLOB out;

			for (j = 4; j < length; j++) {
				random = random * 1103515245 + 12345;
				in[j] = random >> 16;
			}
			tunnel(*state, open, in, length, length, &out);
			assert_true(out.length <= length);
			data_blob_free(&out);
		}
	}
}

#define rsvd_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		rsvd_test(a_plain_handle_has_no_tunnel),
		rsvd_test(half_a_header_is_too_small),
		rsvd_test(a_code_of_another_protocol_is_no_request),
		rsvd_test(a_version_that_is_not_served_mismatches),
		rsvd_test(an_unknown_operation_is_an_invalid_parameter),
		rsvd_test(the_status_of_a_request_is_ignored),
		rsvd_test(each_operation_needs_room_for_its_answer),
		rsvd_test(initial_info_tells_version_and_sizes),
		rsvd_test(the_connection_status_is_a_header),
		rsvd_test(
		the_sense_of_a_read_without_initiator_is_that_of_windows),
		rsvd_test(the_sense_of_a_full_file_system_is_told),
		rsvd_test(an_error_that_was_not_stored_is_not_available),
		rsvd_test(a_status_request_without_a_key_is_refused),
		rsvd_test(disk_info_of_a_dynamic_disk),
		cmocka_unit_test_setup_teardown(
			disk_info_of_a_fixed_disk_has_no_block_size,
			setup_fixed, teardown),
		rsvd_test(disk_info_of_a_vhd_set_says_so),
		rsvd_test(an_open_disk_is_valid),
		rsvd_test(a_raw_open_has_no_disk_to_ask_about),
		rsvd_test(safe_size_ends_with_the_last_block_written),
		rsvd_test(support_is_told_on_any_handle),
		rsvd_test(inquiry_answers_with_its_data),
		rsvd_test(data_is_read_with_any_disposition),
		rsvd_test(an_unknown_command_is_a_check_condition),
		rsvd_test(a_malformed_scsi_request_comes_back),
		rsvd_test(scsi_needs_an_initiator),
		rsvd_test(more_data_than_asked_for_fails_disposition_0),
		rsvd_test(
			a_read_that_does_not_fit_the_answer_is_an_overrun),
		rsvd_test(what_one_initiator_writes_another_reads),
		rsvd_test(data_goes_the_way_the_cdb_says),
		rsvd_test(the_tunnel_does_not_write_for_who_may_not),
		rsvd_test(the_tunnel_does_not_read_for_who_may_not),
		rsvd_test(a_reservation_conflict_is_told_by_the_scsi_status),
		rsvd_test(a_challenger_preempts_and_the_owner_is_told),
		rsvd_test(a_unit_attention_without_a_status_is_stored_as_sense),
		rsvd_test(an_unknown_meta_operation_is_refused),
		rsvd_test(create_snapshot_is_checked_as_the_text_says),
		rsvd_test(create_snapshot_needs_all_its_bytes),
		rsvd_test(a_cdp_log_file_has_no_name),
		rsvd_test(optimize_has_nothing_to_do),
		rsvd_test(extract_finds_no_snapshot),
		rsvd_test(a_vhd_set_has_a_name_that_ends_in_vhds),
		rsvd_test(resize_is_checked_as_the_text_says),
		rsvd_test(disk_gets_the_size_that_is_asked_for),
		rsvd_test(every_initiator_hears_of_a_new_size),
		rsvd_test(who_may_not_write_does_not_resize),
		rsvd_test(a_cdp_snapshot_is_not_applied),
		rsvd_test(no_meta_operation_is_under_way),
		rsvd_test(a_query_is_checked_as_the_text_says),
		rsvd_test(delete_snapshot_is_checked_as_the_text_says),
		rsvd_test(no_changes_are_tracked),
		rsvd_test(garbage_is_answered_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
