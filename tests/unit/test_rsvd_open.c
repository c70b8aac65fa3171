/*
 * vfs_rsvd: opening a shared virtual disk, and what READ and WRITE answer
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "librpc/ndr/libndr.h"
#include "librpc/gen_ndr/ndr_misc.h"
#include "librpc/gen_ndr/ndr_rsvd.h"
#include "modules/scsi/scsi.h"
#include "tests/unit/rsvd_fixture.h"

#define assert_status(status, expected) \
	assert_int_equal(NT_STATUS_V(status), NT_STATUS_V(expected))

static int setup(void **state)
{
	*state = rsvd_fixture_init(false);
	return *state != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	rsvd_fixture_free(*state);
	return 0;
}

/* The context of MS-RSVD 4.1, padded to that of version 2. */
static const uint8_t context_bytes[192] = {
	0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
	0x73, 0x3b, 0xc4, 0x5a, 0x6f, 0xd4, 0x79, 0x45,
	0x83, 0x40, 0x27, 0x1f, 0x20, 0x0d, 0x77, 0x07,
	0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
	0x1e, 0x87, 0xc7, 0x1e, 0x00, 0x00, 0x00, 0x00,
	0x10, 0x00, 'c', 0, 'l', 0, 'i', 0, 'e', 0, 'n', 0,
	't', 0, '0', 0, '1', 0,
};

#define VERSION_OFFSET		0
#define HAS_INITIATOR_OFFSET	4
#define ORIGINATOR_OFFSET	28
#define NAME_LENGTH_OFFSET	40
#define NAME_OFFSET		42

/* context_bytes with one byte changed, of a length, for a server */
static NTSTATUS parse(TALLOC_CTX *mem_ctx, uint32_t server_version,
		      size_t length, size_t offset, uint8_t value,
		      struct rsvd_open_context **context)
{
	DATA_BLOB blob = data_blob_talloc_zero(mem_ctx, length + 1);
	struct rsvd_open_context *unused = NULL;
	NTSTATUS status;

	blob.length = length;
	memcpy(blob.data, context_bytes, MIN(length, sizeof(context_bytes)));
	if (offset < length) {
		blob.data[offset] = value;
	}
	status = rsvd_open_context_parse(
		mem_ctx, server_version, &blob,
		context != NULL ? context : &unused);
	data_blob_free(&blob);
	return status;
}

static void the_context_of_the_example_is_understood(void **state)
{
	struct rsvd_open_context *context = NULL;

	assert_status(parse(*state, 2, 168, VERSION_OFFSET, 1, &context),
		      NT_STATUS_OK);
	assert_int_equal(context->version, 1);
	assert_int_equal(context->initiator_id.time_low, 0x5ac43b73);
	assert_int_equal(context->originator, SVHDX_ORIGINATOR_PVHDPARSER);
	assert_int_equal(context->open_request_id, 0x1ec7871e);
	assert_string_equal(context->host_name, "client01");
	assert_false(context->raw);
}

static void a_context_that_is_too_short_is_too_small(void **state)
{
	size_t length;

	for (length = 0; length < 168; length++) {
		assert_status(parse(*state, 2, length, VERSION_OFFSET, 1, NULL),
			      NT_STATUS_BUFFER_TOO_SMALL);
	}
	for (length = 168; length < 192; length++) {
		assert_status(parse(*state, 2, length, VERSION_OFFSET, 2, NULL),
			      NT_STATUS_BUFFER_TOO_SMALL);
	}
	assert_status(parse(*state, 2, 192, VERSION_OFFSET, 2, NULL),
		      NT_STATUS_OK);
}

static void a_context_may_be_longer_than_needed(void **state)
{
	assert_status(parse(*state, 2, 500, VERSION_OFFSET, 1, NULL),
		      NT_STATUS_OK);
	assert_status(parse(*state, 2, 500, VERSION_OFFSET, 2, NULL),
		      NT_STATUS_OK);
}

static void a_context_of_an_unknown_version_is_refused(void **state)
{
	assert_status(parse(*state, 2, 192, VERSION_OFFSET, 0, NULL),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(parse(*state, 2, 192, VERSION_OFFSET, 3, NULL),
		      NT_STATUS_INVALID_PARAMETER);
}

static void a_server_of_version_1_refuses_version_2(void **state)
{
	assert_status(parse(*state, 1, 168, VERSION_OFFSET, 1, NULL),
		      NT_STATUS_OK);
	assert_status(parse(*state, 1, 192, VERSION_OFFSET, 2, NULL),
		      NT_STATUS_INVALID_PARAMETER);
}

static void has_initiator_id_is_a_boolean(void **state)
{
	assert_status(parse(*state, 2, 168, HAS_INITIATOR_OFFSET, 2, NULL),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(parse(*state, 2, 168, HAS_INITIATOR_OFFSET, 0xff, NULL),
		      NT_STATUS_INVALID_PARAMETER);
}

static void without_has_initiator_id_there_is_no_initiator(void **state)
{
	struct rsvd_open_context *context = NULL;

	assert_status(parse(*state, 2, 168, HAS_INITIATOR_OFFSET, 0, &context),
		      NT_STATUS_OK);
	assert_true(GUID_all_zero(&context->initiator_id));
}

static void a_host_name_longer_than_its_field_is_refused(void **state)
{
	assert_status(parse(*state, 2, 168, NAME_LENGTH_OFFSET, 126, NULL),
		      NT_STATUS_OK);
	assert_status(parse(*state, 2, 168, NAME_LENGTH_OFFSET, 128, NULL),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(parse(*state, 2, 168, NAME_LENGTH_OFFSET + 1, 1, NULL),
		      NT_STATUS_INVALID_PARAMETER);
}

static void a_host_name_of_half_a_character_is_none(void **state)
{
	struct rsvd_open_context *context = NULL;

	assert_status(parse(*state, 2, 168, NAME_LENGTH_OFFSET, 15, &context),
		      NT_STATUS_OK);
	assert_string_equal(context->host_name, "");
}

static void a_host_name_ends_at_a_nul(void **state)
{
	struct rsvd_open_context *context = NULL;

	assert_status(parse(*state, 2, 168, NAME_OFFSET + 12, 0, &context),
		      NT_STATUS_OK);
	assert_string_equal(context->host_name, "client");
}

static void a_host_name_has_no_control_characters(void **state)
{
	struct rsvd_open_context *context = NULL;

	/* ESC, DEL, and CSI in place of the "l" of "client01" */
	assert_status(parse(*state, 2, 168, NAME_OFFSET + 2, 0x1B, &context),
		      NT_STATUS_OK);
	assert_string_equal(context->host_name, "c?ient01");
	assert_status(parse(*state, 2, 168, NAME_OFFSET + 2, 0x7F, &context),
		      NT_STATUS_OK);
	assert_string_equal(context->host_name, "c?ient01");
	assert_status(parse(*state, 2, 168, NAME_OFFSET + 2, 0x9B, &context),
		      NT_STATUS_OK);
	assert_string_equal(context->host_name, "c??ient01");
	/* A letter of two bytes stays. */
	assert_status(parse(*state, 2, 168, NAME_OFFSET + 2, 0xE4, &context),
		      NT_STATUS_OK);
	assert_string_equal(context->host_name, "c\xC3\xA4" "ient01");
	/* What was sent is echoed all the same. */
	assert_int_equal(context->wire.v1.initiator_host_name[2], 0xE4);
}

static void no_host_name_is_an_empty_one(void **state)
{
	struct rsvd_open_context *context = NULL;

	assert_status(parse(*state, 2, 168, NAME_LENGTH_OFFSET, 0, &context),
		      NT_STATUS_OK);
	assert_string_equal(context->host_name, "");
}

static void originators_4_and_8_see_the_file(void **state)
{
	struct rsvd_open_context *context = NULL;

	assert_status(parse(*state, 2, 168, ORIGINATOR_OFFSET, 4, &context),
		      NT_STATUS_OK);
	assert_true(context->raw);
	assert_status(parse(*state, 2, 168, ORIGINATOR_OFFSET, 8, &context),
		      NT_STATUS_OK);
	assert_true(context->raw);
	assert_status(parse(*state, 2, 168, ORIGINATOR_OFFSET, 5, &context),
		      NT_STATUS_OK);
	assert_false(context->raw);
}

static struct rsvd_open *open_disk(struct rsvd_fixture *f, int process)
{
	struct rsvd_fixture_open o = rsvd_fixture_default_open(process);
	struct rsvd_open *open = rsvd_fixture_open(f, &o);

	assert_non_null(open);
	return open;
}

static void version_1_is_answered_with_what_was_sent(void **state)
{
	struct rsvd_fixture *f = *state;
	DATA_BLOB in = data_blob_const(context_bytes, 168);
	struct rsvd_open_params params = {
		.server_version = 2,
		.file_name = "disk.vhdx",
		.disk = f->process[0],
		.image = f->image,
		.storage = f->storage,
	};
	struct rsvd_open_context *context = NULL;
	struct rsvd_open *open = NULL;
	DATA_BLOB out;

	assert_status(rsvd_open_context_parse(f, 2, &in, &context),
		      NT_STATUS_OK);
	params.context = context;
	open = rsvd_open_init(f, &params);
	assert_non_null(open);

	assert_status(rsvd_open_response(open, f, &out), NT_STATUS_OK);
	assert_int_equal(out.length, 168);
	assert_memory_equal(out.data, context_bytes, 168);
}

static void version_2_is_answered_with_the_geometry(void **state)
{
	struct rsvd_fixture *f = *state;
	struct rsvd_open *open = open_disk(f, 0);
	static const uint8_t expected[] = {
		0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
		0x00, 0x02, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00,
	};
	DATA_BLOB out;

	assert_status(rsvd_open_response(open, f, &out), NT_STATUS_OK);
	assert_int_equal(out.length, 192);
	assert_int_equal(out.data[0], 2);
	assert_int_equal(out.data[8], 1);
	assert_int_equal(out.data[42], 'h');
	assert_memory_equal(out.data + 168, expected, sizeof(expected));
}

static void a_raw_open_is_told_no_geometry(void **state)
{
	struct rsvd_fixture *f = *state;
	struct rsvd_fixture_open o = rsvd_fixture_default_open(0);
	static const uint8_t expected[] = {
		0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	};
	struct rsvd_open *open = NULL;
	DATA_BLOB out;

	o.originator = SVHDX_ORIGINATOR_VHDMP;
	open = rsvd_fixture_open(f, &o);
	assert_non_null(open);

	assert_status(rsvd_open_response(open, f, &out), NT_STATUS_OK);
	assert_int_equal(out.length, 192);
	assert_memory_equal(out.data + 168, expected, sizeof(expected));
}

static void an_initiator_may_read_and_write(void **state)
{
	struct rsvd_open *open = open_disk(*state, 0);

	assert_true(rsvd_open_is_virtual_scsi_disk(open));
	assert_status(rsvd_open_check_io(open, false), NT_STATUS_OK);
	assert_status(rsvd_open_check_io(open, true), NT_STATUS_OK);
}

static void without_an_initiator_each_io_stores_an_error(void **state)
{
	struct rsvd_fixture_open o = rsvd_fixture_default_open(0);
	struct rsvd_open *open = NULL;
	int i;

	ZERO_STRUCT(o.initiator);
	o.create_options = 0;
	open = rsvd_fixture_open(*state, &o);
	assert_non_null(open);

	assert_int_equal(NT_STATUS_V(rsvd_open_check_io(open, false)),
			 0xc05c0001);
	assert_int_equal(NT_STATUS_V(rsvd_open_check_io(open, true)),
			 0xc05c0002);
	for (i = 3; i < 256; i++) {
		assert_int_equal(NT_STATUS_V(rsvd_open_check_io(open, true)),
				 0xc05c0000 | i);
	}
	assert_int_equal(NT_STATUS_V(rsvd_open_check_io(open, true)),
			 0xc05c0000);
	assert_int_equal(NT_STATUS_V(rsvd_open_check_io(open, true)),
			 0xc05c0001);
}

static void buffered_handles_do_no_io(void **state)
{
	struct rsvd_fixture_open o = rsvd_fixture_default_open(0);
	struct rsvd_open *open = NULL;

	o.create_options = 0x00000040;
	open = rsvd_fixture_open(*state, &o);
	assert_non_null(open);

	assert_status(rsvd_open_check_io(open, false),
		      NT_STATUS_NOT_SUPPORTED);
	assert_status(rsvd_open_check_io(open, true), NT_STATUS_NOT_SUPPORTED);
}

static void a_handle_does_what_it_was_opened_for(void **state)
{
	struct rsvd_fixture_open o = rsvd_fixture_default_open(0);
	struct rsvd_open *open = NULL;

	o.may_write = false;
	open = rsvd_fixture_open(*state, &o);
	assert_status(rsvd_open_check_io(open, false), NT_STATUS_OK);
	assert_status(rsvd_open_check_io(open, true), NT_STATUS_ACCESS_DENIED);

	o.may_write = true;
	o.may_read = false;
	open = rsvd_fixture_open(*state, &o);
	assert_status(rsvd_open_check_io(open, false),
		      NT_STATUS_ACCESS_DENIED);
	assert_status(rsvd_open_check_io(open, true), NT_STATUS_OK);
}

static void a_raw_open_needs_no_initiator(void **state)
{
	struct rsvd_fixture_open o = rsvd_fixture_default_open(0);
	struct rsvd_open *open = NULL;

	ZERO_STRUCT(o.initiator);
	o.originator = SVHDX_ORIGINATOR_VHDMP;
	open = rsvd_fixture_open(*state, &o);
	assert_non_null(open);

	assert_false(rsvd_open_is_virtual_scsi_disk(open));
	assert_status(rsvd_open_check_io(open, true), NT_STATUS_OK);
	assert_status(rsvd_open_store_error(open, true, NT_STATUS_DISK_FULL),
		      NT_STATUS_DISK_FULL);
}

/* A reservation of the initiator of process 0 */
static NTSTATUS reserve(struct scsi_state *state, bool *changed, void *fn_data)
{
	uint32_t i;

	for (i = 0; i < state->num_nexuses; i++) {
		if (state->nexuses[i].initiator_id.time_low == 1) {
			state->nexuses[i].key = 0x1234;
		}
	}
	state->pr_type = *(enum scsi_pr_type *)fn_data;
	state->pr_holder = rsvd_fixture_initiator[0];
	*changed = true;
	return NT_STATUS_OK;
}

static void a_reservation_keeps_others_out_in_every_process(void **state)
{
	struct rsvd_fixture *f = *state;
	struct rsvd_open *holder = open_disk(f, 0);
	struct rsvd_open *other = open_disk(f, 1);
	enum scsi_pr_type type;

	assert_status(rsvd_open_check_io(other, true), NT_STATUS_OK);

	type = SCSI_PR_WRITE_EXCLUSIVE;
	rsvd_disk_scsi_update(f->process[0], reserve, &type);
	assert_status(rsvd_open_check_io(holder, true), NT_STATUS_OK);
	assert_status(rsvd_open_check_io(other, false), NT_STATUS_OK);
	assert_status(rsvd_open_check_io(other, true),
		      NT_STATUS_SVHDX_RESERVATION_CONFLICT);

	type = SCSI_PR_EXCLUSIVE_ACCESS;
	rsvd_disk_scsi_update(f->process[0], reserve, &type);
	assert_status(rsvd_open_check_io(holder, false), NT_STATUS_OK);
	assert_status(rsvd_open_check_io(other, false),
		      NT_STATUS_SVHDX_RESERVATION_CONFLICT);

	type = SCSI_PR_NONE;
	rsvd_disk_scsi_update(f->process[0], reserve, &type);
	assert_status(rsvd_open_check_io(other, true), NT_STATUS_OK);
}

static NTSTATUS reserve_legacy(struct scsi_state *state, bool *changed,
			       void *fn_data)
{
	state->reserved = true;
	state->reserve_holder = rsvd_fixture_initiator[0];
	*changed = true;
	return NT_STATUS_OK;
}

static void a_legacy_reservation_dies_with_the_process(void **state)
{
	struct rsvd_fixture *f = *state;
	struct rsvd_open *other = NULL;

	open_disk(f, 0);
	other = open_disk(f, 1);
	rsvd_disk_scsi_update(f->process[0], reserve_legacy, NULL);
	assert_status(rsvd_open_check_io(other, false),
		      NT_STATUS_SVHDX_RESERVATION_CONFLICT);

	f->dead[0] = true;
	assert_status(rsvd_open_check_io(other, false), NT_STATUS_OK);
}

static void a_persistent_reservation_does_not(void **state)
{
	struct rsvd_fixture *f = *state;
	struct rsvd_open *other = NULL;
	enum scsi_pr_type type = SCSI_PR_EXCLUSIVE_ACCESS;

	open_disk(f, 0);
	other = open_disk(f, 1);
	rsvd_disk_scsi_update(f->process[0], reserve, &type);
	f->dead[0] = true;
	assert_status(rsvd_open_check_io(other, false),
		      NT_STATUS_SVHDX_RESERVATION_CONFLICT);
}

static NTSTATUS establish(struct scsi_state *state, bool *changed,
			  void *fn_data)
{
	scsi_state_establish_ua(state, &rsvd_fixture_initiator[0],
				*(uint32_t *)fn_data);
	*changed = true;
	return NT_STATUS_OK;
}

static void a_unit_attention_is_reported_once_by_its_status(void **state)
{
	static const struct {
		uint32_t ua;
		uint32_t status;
	} conditions[] = {
		{ SCSI_UA_CAPACITY_DATA_CHANGED, 0xc05cff02 },
		{ SCSI_UA_RESERVATIONS_PREEMPTED, 0xc05cff03 },
		{ SCSI_UA_RESERVATIONS_RELEASED, 0xc05cff04 },
		{ SCSI_UA_REGISTRATIONS_PREEMPTED, 0xc05cff05 },
		{ SCSI_UA_OPERATING_DEFINITION_CHANGED, 0xc05cff06 },
	};
	struct rsvd_fixture *f = *state;
	struct rsvd_open *changer = open_disk(f, 0);
	struct rsvd_open *other = open_disk(f, 1);
	struct rsvd_open *same_initiator = open_disk(f, 1);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(conditions); i++) {
		uint32_t ua = conditions[i].ua;

		rsvd_disk_scsi_update(f->process[0], establish, &ua);
		assert_status(rsvd_open_check_io(changer, false),
			      NT_STATUS_OK);
		assert_int_equal(NT_STATUS_V(rsvd_open_check_io(other, false)),
				 conditions[i].status);
		assert_status(rsvd_open_check_io(other, false), NT_STATUS_OK);
		assert_status(rsvd_open_check_io(same_initiator, true),
			      NT_STATUS_OK);
	}
}

static void an_error_of_2_2_3_is_passed_on(void **state)
{
	struct rsvd_open *open = open_disk(*state, 0);

	assert_status(rsvd_open_store_error(
			open, true, NT_STATUS_SVHDX_RESERVATION_CONFLICT),
		      NT_STATUS_SVHDX_RESERVATION_CONFLICT);
}

static void an_error_of_the_disk_is_stored(void **state)
{
	struct rsvd_open *open = open_disk(*state, 0);

	assert_int_equal(NT_STATUS_V(rsvd_open_store_error(
				open, true, NT_STATUS_DISK_FULL)),
			 0xc05c0001);
	assert_int_equal(NT_STATUS_V(rsvd_open_store_error(
				open, false, NT_STATUS_IO_DEVICE_ERROR)),
			 0xc05c0002);
}

static NTSTATUS write_cache_off(struct scsi_state *state, bool *changed,
				void *fn_data)
{
	state->mode &= ~SCSI_MODE_WCE;
	*changed = true;
	return NT_STATUS_OK;
}

static void without_a_write_cache_writes_go_through(void **state)
{
	struct rsvd_fixture *f = *state;
	struct rsvd_open *open = open_disk(f, 0);

	assert_false(rsvd_open_write_through(open));
	rsvd_disk_scsi_update(f->process[1], write_cache_off, NULL);
	assert_true(rsvd_open_write_through(open));
}

#define rsvd_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		rsvd_test(the_context_of_the_example_is_understood),
		rsvd_test(a_context_that_is_too_short_is_too_small),
		rsvd_test(a_context_may_be_longer_than_needed),
		rsvd_test(a_context_of_an_unknown_version_is_refused),
		rsvd_test(a_server_of_version_1_refuses_version_2),
		rsvd_test(has_initiator_id_is_a_boolean),
		rsvd_test(without_has_initiator_id_there_is_no_initiator),
		rsvd_test(a_host_name_longer_than_its_field_is_refused),
		rsvd_test(a_host_name_of_half_a_character_is_none),
		rsvd_test(a_host_name_ends_at_a_nul),
		rsvd_test(a_host_name_has_no_control_characters),
		rsvd_test(no_host_name_is_an_empty_one),
		rsvd_test(originators_4_and_8_see_the_file),
		rsvd_test(version_1_is_answered_with_what_was_sent),
		rsvd_test(version_2_is_answered_with_the_geometry),
		rsvd_test(a_raw_open_is_told_no_geometry),
		rsvd_test(an_initiator_may_read_and_write),
		rsvd_test(without_an_initiator_each_io_stores_an_error),
		rsvd_test(buffered_handles_do_no_io),
		rsvd_test(a_handle_does_what_it_was_opened_for),
		rsvd_test(a_raw_open_needs_no_initiator),
		rsvd_test(a_reservation_keeps_others_out_in_every_process),
		rsvd_test(a_legacy_reservation_dies_with_the_process),
		rsvd_test(a_persistent_reservation_does_not),
		rsvd_test(a_unit_attention_is_reported_once_by_its_status),
		rsvd_test(an_error_of_2_2_3_is_passed_on),
		rsvd_test(an_error_of_the_disk_is_stored),
		rsvd_test(without_a_write_cache_writes_go_through),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
