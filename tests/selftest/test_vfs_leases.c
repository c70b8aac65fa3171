/*
 * vfs_rsvd: leases of plain handles, and that a shared disk has none
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * MS-SMB2 2.2.13.2.8 (lease), 2.2.23.2 (lease break).
 */

#include "attach.h"
#include "replace.h"
#include <tevent.h>
#include "lib/util/data_blob.h"
#include "source3/librsvd/librsvd_private.h"
#include "libcli/smb/smb_constants.h"
#include "libcli/smb/smb2_constants.h"
#include "libcli/smb/smb2_create_blob.h"
#include "libcli/smb/smbXcli_base.h"

#define LEASE_KEY 0x77

struct handle {
	uint64_t persistent;
	uint64_t volatile_;
	uint8_t oplock_level;
};

/* Open a file and ask for a lease to read, write and keep the handle. */
static NTSTATUS open_with_lease(TALLOC_CTX *mem_ctx, struct librsvd_conn *conn,
				const char *name, const DATA_BLOB *svhdx,
				struct handle *handle)
{
	uint8_t lease[32] = { LEASE_KEY, [16] = 7 };
	struct smb2_create_blobs blobs = { .num_blobs = 0 };
	struct smb2_create_blobs answered = { .num_blobs = 0 };
	struct smb_create_returns returns = { .oplock_level = 0xEE };
	NTSTATUS status;

	assert_ok(smb2_create_blob_add(
		mem_ctx, &blobs, SMB2_CREATE_TAG_RQLS,
		data_blob_const(lease, sizeof(lease))));
	if (svhdx != NULL) {
		assert_ok(smb2_create_blob_add(mem_ctx, &blobs,
					       SVHDX_OPEN_DEVICE_CONTEXT,
					       *svhdx));
	}
	status = smb2cli_create(
		LIBRSVD_SMB2(conn), name, SMB2_OPLOCK_LEVEL_LEASE,
		SMB2_IMPERSONATION_IMPERSONATION,
		0x0012019F,	/* read and write */
		0, 7 /* share all */, 1 /* FILE_OPEN */, 0, &blobs,
		&handle->persistent, &handle->volatile_, &returns, mem_ctx,
		&answered);
	handle->oplock_level = returns.oplock_level;
	if (svhdx != NULL) {
		assert_null(smb2_create_blob_find(&answered,
						  SMB2_CREATE_TAG_RQLS));
	}
	return status;
}

static void a_shared_open_gets_no_lease(void **state)
{
	TALLOC_CTX *frame = talloc_new(NULL);
	struct librsvd_conn *conn = attach_connect(frame, NULL);
	/* MS-RSVD 2.2.4.12: version 1, an initiator, PVHDPARSER */
	uint8_t context[168] = { [0] = 1, [4] = 1, [8] = 0xAA, [28] = 1 };
	DATA_BLOB svhdx = data_blob_const(context, sizeof(context));
	struct handle handle;

	attach_image("alone.vhdx", 8 * MIB);

	assert_ok(open_with_lease(frame, conn, "alone.vhdx:SharedVirtualDisk",
				  &svhdx, &handle));

	assert_int_equal(handle.oplock_level, SMB2_OPLOCK_LEVEL_NONE);
	talloc_free(frame);
}

/* What smbd sends of itself has this message id. */
static struct tevent_req *break_send(TALLOC_CTX *mem_ctx,
				     struct tevent_context *ev,
				     struct librsvd_conn *conn)
{
	struct tevent_req *req = NULL;

	req = smb2cli_req_create(mem_ctx, ev, conn->cli->conn, SMB2_OP_BREAK,
				 0, 0, 0, NULL, NULL, NULL, 0, NULL, 0, 0);
	assert_non_null(req);
	smbXcli_req_set_pending(req);
	return req;
}

static void a_handle_that_is_only_cached_makes_room_for_an_initiator(
	void **state)
{
	TALLOC_CTX *frame = talloc_new(NULL);
	struct tevent_context *ev = tevent_context_init(frame);
	struct librsvd_conn *copier = attach_connect(frame, ev);
	struct librsvd_conn *conn = attach_connect(frame, ev);
	struct librsvd_guid initiator = librsvd_guid_random();
	struct librsvd_open_params params = {
		.path = "disk.vhdx",
		.initiator_id = &initiator,
	};
	struct librsvd_disk *disk = NULL;
	struct tevent_req *broken = NULL;
	struct tevent_req *opened = NULL;
	struct tevent_req *closed = NULL;
	struct iovec *iov = NULL;
	struct handle handle;

	attach_image("disk.vhdx", 8 * MIB);
	assert_ok(open_with_lease(frame, copier, "disk.vhdx", NULL, &handle));
	assert_int_equal(handle.oplock_level, SMB2_OPLOCK_LEVEL_LEASE);
	broken = break_send(frame, ev, copier);

	opened = librsvd_open_send(frame, conn, &params);
	assert_non_null(opened);
	assert_true(tevent_req_poll(broken, ev));

	/* From read, write and handle caching to none of the handle. */
	assert_ok(smb2cli_req_recv(broken, frame, &iov, NULL, 0));
	assert_int_equal(iov[1].iov_len, 44);
	assert_int_equal(((uint8_t *)iov[1].iov_base)[8], LEASE_KEY);
	assert_int_equal(((uint8_t *)iov[1].iov_base)[24], 7);
	assert_int_equal(((uint8_t *)iov[1].iov_base)[28] & 2, 0);
	assert_true(tevent_req_is_in_progress(opened));

	/* Nobody uses it, so its client gives it up. */
	closed = smb2cli_close_send(frame, ev, LIBRSVD_SMB2(copier), 0,
				    handle.persistent, handle.volatile_);
	assert_non_null(closed);
	assert_true(tevent_req_poll(closed, ev));
	assert_ok(smb2cli_close_recv(closed));

	assert_true(tevent_req_poll(opened, ev));
	assert_ok(librsvd_open_recv(opened, frame, &disk));
	assert_ok(librsvd_close(disk));
	talloc_free(frame);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_shared_open_gets_no_lease),
		cmocka_unit_test(a_handle_that_is_only_cached_makes_room_for_an_initiator),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
