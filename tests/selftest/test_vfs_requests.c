/*
 * vfs_rsvd: what SMB2 requests do to a shared disk
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * MS-RSVD 3.2.4, 3.2.5.8, 3.2.5.9, and docs/hooks.md.
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

#define DISK_SIZE (8ULL * MIB)

#define FILE_STANDARD_INFORMATION 5
#define FILE_RENAME_INFORMATION 10
#define FILE_LINK_INFORMATION 11
#define FILE_ALLOCATION_INFORMATION 19
#define FILE_END_OF_FILE_INFORMATION 20

struct fixture {
	struct librsvd_conn *conn;
	struct librsvd_disk *disk;
};

/* With DELETE, or smbd refuses a rename before the module sees it. */
static int attached_disk(void **state)
{
	struct fixture *fixture = talloc_zero(NULL, struct fixture);
	struct librsvd_guid initiator = librsvd_guid_random();
	struct librsvd_open_params params = {
		.path = "disk.vhdx",
		.initiator_id = &initiator,
		.access_mask = 0x0013019F,
	};

	unlink(attach_path(fixture, "disk.vhdx"));
	attach_image("disk.vhdx", DISK_SIZE);
	fixture->conn = attach_connect(fixture, NULL);
	assert_ok(librsvd_open(fixture, fixture->conn, &params,
			       &fixture->disk));
	*state = fixture;
	return 0;
}

static int detached(void **state)
{
	talloc_free(*state);
	return 0;
}

static NTSTATUS set_info(struct fixture *fixture, uint8_t class,
			 const void *data, size_t length)
{
	DATA_BLOB blob = data_blob_const(data, length);

	return smb2cli_set_info(LIBRSVD_SMB2(fixture->conn),
				SMB2_0_INFO_FILE, class, &blob, 0,
				fixture->disk->fid_persistent,
				fixture->disk->fid_volatile);
}

static NTSTATUS control(struct fixture *fixture, uint32_t code,
			const void *data, size_t length, DATA_BLOB *output)
{
	DATA_BLOB blob = data_blob_const(data, length);

	return smb2cli_ioctl(LIBRSVD_SMB2(fixture->conn),
			     fixture->disk->fid_persistent,
			     fixture->disk->fid_volatile, code, 0, &blob, 4096,
			     NULL, SMB2_IOCTL_FLAG_IS_FSCTL, fixture, NULL,
			     output);
}

/* One element, MS-SMB2 2.2.26. */
static NTSTATUS lock(struct fixture *fixture, uint32_t flags)
{
	static const struct smb2cli_req_expected_response expected[] = {
		{ .status = NT_STATUS_OK, .body_size = 4 },
	};
	struct librsvd_conn *conn = fixture->conn;
	struct tevent_context *ev = tevent_context_init(fixture);
	struct tevent_req *req = NULL;
	uint8_t body[48] = {
		[0] = 48,	/* StructureSize */
		[2] = 1,	/* LockCount */
		[32] = 1,	/* Length */
	};

	SBVAL(body, 8, fixture->disk->fid_persistent);
	SBVAL(body, 16, fixture->disk->fid_volatile);
	SIVAL(body, 40, flags);
	req = smb2cli_req_send(fixture, ev, conn->cli->conn, SMB2_OP_LOCK, 0,
			       0, 10000, conn->cli->smb2.tcon,
			       conn->cli->smb2.session, body, sizeof(body),
			       NULL, 0, 0);
	assert_non_null(req);
	assert_true(tevent_req_poll(req, ev));
	return smb2cli_req_recv(req, fixture, NULL, expected, 1);
}

static void a_lock_is_not_granted(void **state)
{
	assert_status(lock(*state, SMB2_LOCK_FLAG_EXCLUSIVE |
				   SMB2_LOCK_FLAG_FAIL_IMMEDIATELY),
		      NT_STATUS_LOCK_NOT_GRANTED);
}

static void a_lock_that_would_wait_is_not_granted_at_once(void **state)
{
	struct fixture *fixture = *state;
	uint8_t data[512];

	assert_status(lock(fixture, SMB2_LOCK_FLAG_EXCLUSIVE),
		      NT_STATUS_LOCK_NOT_GRANTED);
	assert_status(lock(fixture, SMB2_LOCK_FLAG_SHARED),
		      NT_STATUS_LOCK_NOT_GRANTED);

	/* And nothing is left of it. */
	assert_ok(librsvd_read(fixture->disk, data, sizeof(data), 0, NULL));
	assert_ok(librsvd_close(fixture->disk));
}

static void the_end_of_file_is_that_of_the_virtual_disk(void **state)
{
	struct fixture *fixture = *state;
	DATA_BLOB info = { .data = NULL };

	assert_ok(smb2cli_query_info(LIBRSVD_SMB2(fixture->conn),
				     SMB2_0_INFO_FILE,
				     FILE_STANDARD_INFORMATION, 24, NULL, 0, 0,
				     fixture->disk->fid_persistent,
				     fixture->disk->fid_volatile, fixture,
				     &info));

	assert_true(info.length >= 24);
	assert_int_equal(BVAL(info.data, 8), DISK_SIZE);
}

/* ReplaceIfExists 0, RootDirectory 0, FileNameLength, "new" */
static const uint8_t new_name[] = {
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	6, 0, 0, 0, 'n', 0, 'e', 0, 'w', 0, 0, 0
};

static void an_empty_read_is_no_error(void **state)
{
	struct fixture *fixture = *state;
	struct librsvd_conn *conn = fixture->conn;
	uint8_t *data = NULL;
	uint32_t length = 1;

	assert_ok(smb2cli_read(conn->cli->conn, conn->cli->timeout,
			       conn->cli->smb2.session, conn->cli->smb2.tcon,
			       0, 0, fixture->disk->fid_persistent,
			       fixture->disk->fid_volatile, 0, 0, fixture,
			       &data, &length));
	assert_int_equal(length, 0);
}

/* Every other page of the file is in memory after this. */
static void forget_half(const char *path)
{
	uint8_t page[4096];
	off_t offset;
	int fd = open(path, O_RDONLY);

	assert_int_not_equal(fd, -1);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	/* No reading ahead */
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), 0);
	for (offset = 0; pread(fd, page, sizeof(page), offset) > 0;
	     offset += 2 * sizeof(page)) {
		;
	}
	close(fd);
}

static void a_read_is_right_whatever_of_it_is_in_memory(void **state)
{
	struct fixture *fixture = *state;
	const size_t lengths[] = { 512, 4096, 8192, 20480, 128 * 1024, MIB };
	uint32_t *written = talloc_array(fixture, uint32_t, MIB / 4);
	uint8_t *data = talloc_array(fixture, uint8_t, MIB);
	size_t i, done;

	for (i = 0; i < MIB / 4; i++) {
		written[i] = i;
	}
	assert_ok(librsvd_write(fixture->disk, written, MIB, MIB, 0));

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		forget_half(attach_path(fixture, "disk.vhdx"));
		for (done = 0; done < MIB; done += lengths[i]) {
			size_t n = MIN(lengths[i], MIB - done);

			assert_ok(librsvd_read(fixture->disk, data + done, n,
					       MIB + done, NULL));
		}
		assert_memory_equal(data, written, MIB);
	}
}

static void a_rename_is_not_supported(void **state)
{
	struct fixture *fixture = *state;

	assert_status(set_info(fixture, FILE_RENAME_INFORMATION, new_name,
			       sizeof(new_name)),
		      NT_STATUS_NOT_SUPPORTED);

	assert_int_equal(access(attach_path(fixture, "disk.vhdx"), F_OK), 0);
}

static void a_link_is_an_invalid_parameter(void **state)
{
	struct fixture *fixture = *state;

	assert_status(set_info(fixture, FILE_LINK_INFORMATION, new_name,
			       sizeof(new_name)),
		      NT_STATUS_INVALID_PARAMETER);

	assert_int_equal(access(attach_path(fixture, "new"), F_OK), -1);
}

/* Size and first bytes of the image file. */
static void image_state(struct fixture *fixture, off_t *size,
			uint8_t start[4096])
{
	int fd = open(attach_path(fixture, "disk.vhdx"), O_RDONLY);
	struct stat st;

	assert_int_not_equal(fd, -1);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(pread(fd, start, 4096, 0), 4096);
	close(fd);
	*size = st.st_size;
}

static void assert_does_nothing_to_the_file(struct fixture *fixture,
					    NTSTATUS (*request)(
						    struct fixture *fixture))
{
	off_t size_before, size_after;
	uint8_t before[4096], after[4096];

	image_state(fixture, &size_before, before);
	assert_status(request(fixture), NT_STATUS_NOT_SUPPORTED);
	image_state(fixture, &size_after, after);
	assert_int_equal(size_before, size_after);
	assert_memory_equal(before, after, sizeof(before));
}

static NTSTATUS set_end_of_file(struct fixture *fixture)
{
	return set_info(fixture, FILE_END_OF_FILE_INFORMATION,
			(uint64_t[]) { MIB }, 8);
}

static NTSTATUS set_allocation(struct fixture *fixture)
{
	return set_info(fixture, FILE_ALLOCATION_INFORMATION,
			(uint64_t[]) { MIB }, 8);
}

static NTSTATUS zero_data(struct fixture *fixture)
{
	return control(fixture, FSCTL_SET_ZERO_DATA,
		       (uint64_t[]) { 0, MIB }, 16, NULL);
}

static void the_end_of_file_cannot_be_set(void **state)
{
	assert_does_nothing_to_the_file(*state, set_end_of_file);
}

static void the_allocation_cannot_be_set(void **state)
{
	assert_does_nothing_to_the_file(*state, set_allocation);
}

static void zero_data_does_not_reach_the_file(void **state)
{
	assert_does_nothing_to_the_file(*state, zero_data);
}

static void all_of_the_disk_is_allocated(void **state)
{
	static const uint64_t all[2] = { 0, UINT32_MAX };
	struct fixture *fixture = *state;
	DATA_BLOB ranges = { .data = NULL };

	/* smbd asks further when the file is marked as sparse. */
	assert_ok(control(fixture, FSCTL_SET_SPARSE, (uint8_t[]) { 1 }, 1,
			  NULL));
	assert_ok(control(fixture, FSCTL_QUERY_ALLOCATED_RANGES, all,
			  sizeof(all), &ranges));

	assert_int_equal(ranges.length, 16);
	assert_int_equal(BVAL(ranges.data, 0), 0);
	assert_int_equal(BVAL(ranges.data, 8), DISK_SIZE);
}

static void offload_is_refused_by_its_name(void **state)
{
	uint8_t input[544] = { 0 };

	assert_status(control(*state, FSCTL_OFFLOAD_READ, input, 32, NULL),
		      NT_STATUS(0xC000A2A3));
	assert_status(control(*state, FSCTL_OFFLOAD_WRITE, input, 544, NULL),
		      NT_STATUS(0xC000A2A4));
}

static void a_shared_disk_is_not_copied_by_the_server(void **state)
{
	assert_status(control(*state, FSCTL_SRV_REQUEST_RESUME_KEY, NULL, 0,
			      NULL),
		      NT_STATUS(0xC000A2A3));
}

/*
 * Open the disk as one of its snapshots: with an extended attribute, and no
 * SVHDX_OPEN_DEVICE_CONTEXT. MS-RSVD 3.1.4.24, 2.2.4.34, MS-FSCC 2.4.15.
 */
static NTSTATUS open_snapshot(struct fixture *fixture, uint8_t namespace_,
			      uint8_t type)
{
	/* FILE_NEED_EA, 24 bytes of name and its NUL, 24 bytes of value */
	uint8_t attribute[8 + 25 + 24] = { [4] = 0x80, [5] = 24, [6] = 24 };
	struct smb2_create_blobs blobs = { .num_blobs = 0 };
	uint64_t persistent, volatile_;

	memcpy(attribute + 8, "RSVD_TARGET_SPECIFIER_EA", 24);
	attribute[8 + 25] = namespace_;
	attribute[8 + 25 + 4] = type;
	attribute[8 + 25 + 8] = 0xAB;	/* SnapshotID */
	assert_ok(smb2_create_blob_add(
		fixture, &blobs, SMB2_CREATE_TAG_EXTA,
		data_blob_const(attribute, sizeof(attribute))));
	return smb2cli_create(
		LIBRSVD_SMB2(fixture->conn), "disk.vhdx:SharedVirtualDisk",
		SMB2_OPLOCK_LEVEL_NONE, SMB2_IMPERSONATION_IMPERSONATION,
		0x00120089 /* read */, 0, 7 /* share all */, 1 /* FILE_OPEN */,
		8 /* FILE_NO_INTERMEDIATE_BUFFERING */, &blobs, &persistent,
		&volatile_, NULL, NULL, NULL);
}

static void a_snapshot_is_asked_for_by_its_attribute_alone(void **state)
{
	assert_status(open_snapshot(*state, 0, 0x01), NT_STATUS_NOT_FOUND);
	assert_status(open_snapshot(*state, 0, 0x04), NT_STATUS_NOT_FOUND);
	/* Another namespace than that of snapshots, a snapshot of CDP */
	assert_status(open_snapshot(*state, 1, 0x01),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(open_snapshot(*state, 0, 0x03),
		      NT_STATUS_INVALID_PARAMETER);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, attached_disk, detached)
	const struct CMUnitTest tests[] = {
		TEST(a_lock_is_not_granted),
		TEST(a_lock_that_would_wait_is_not_granted_at_once),
		TEST(the_end_of_file_is_that_of_the_virtual_disk),
		TEST(an_empty_read_is_no_error),
		TEST(a_read_is_right_whatever_of_it_is_in_memory),
		TEST(a_rename_is_not_supported),
		TEST(a_link_is_an_invalid_parameter),
		TEST(the_end_of_file_cannot_be_set),
		TEST(the_allocation_cannot_be_set),
		TEST(zero_data_does_not_reach_the_file),
		TEST(all_of_the_disk_is_allocated),
		TEST(offload_is_refused_by_its_name),
		TEST(a_shared_disk_is_not_copied_by_the_server),
		TEST(a_snapshot_is_asked_for_by_its_attribute_alone),
	};
#undef TEST

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
