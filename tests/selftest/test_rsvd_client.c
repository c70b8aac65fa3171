/*
 * Attaching shared virtual disks through a real smbd: the opens, version 1 of
 * the tunnel, READ and WRITE, and who may do what (MS-RSVD 3.2).
 *
 * Run by "./waf test", or "./waf selftest -- build/default/tests/selftest/
 * test_rsvd_client". What librsvd never sends is sent with Samba's own client
 * code on the same connection.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/librsvd/librsvd_private.h"
#include "auth/credentials/credentials.h"
#include "libcli/smb/smb2_create_blob.h"
#include "modules/vhdx/vhdx.h"
#include "source3/param/loadparm.h"

#include <setjmp.h>
#include <cmocka.h>

#define DISK_SIZE (64 * 1024 * 1024)
#define BLOCK_SIZE (1024 * 1024)

/* What nothing may have to wait for. */
#define PATIENCE_SEC 30

static const struct librsvd_guid initiator_a = { .bytes = { 0xA1, [15] = 1 } };
static const struct librsvd_guid initiator_b = { .bytes = { 0xB2, [15] = 2 } };

/*
 * Each test has an image of its own; what it connects and opens hangs on the
 * fixture, and goes with it.
 */
struct fixture {
	char name[32];
	char *path;	/* of the image, here */
};

static void assert_status(NTSTATUS status, NTSTATUS expected)
{
	if (!NT_STATUS_EQUAL(status, expected)) {
		fail_msg("%s, not %s", librsvd_status_string(NULL, status),
			 librsvd_status_string(NULL, expected));
	}
}

#define assert_ok(status) assert_status(status, NT_STATUS_OK)

static char *local_path(TALLOC_CTX *mem_ctx, const char *name)
{
	return talloc_asprintf(mem_ctx, "%s/%s", getenv("LOCAL_PATH"), name);
}

static void create_image(const char *path, bool fixed)
{
	struct vhdx_create_params params = {
		.virtual_size = DISK_SIZE,
		.block_size = BLOCK_SIZE,
		.fixed = fixed,
	};
	struct vhdx_storage *storage = NULL;

	assert_int_equal(vhdx_storage_posix_open(
				 NULL, path, O_RDWR | O_CREAT | O_EXCL,
				 &storage), 0);
	assert_ok(vhdx_create(storage, &params));
	talloc_free(storage);
}

static int setup(void **state)
{
	static unsigned int number;
	struct fixture *f = talloc_zero(NULL, struct fixture);

	snprintf(f->name, sizeof(f->name), "disk%u.vhdx", ++number);
	f->path = local_path(f, f->name);
	create_image(f->path, false);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	unlink(f->path);
	talloc_free(f);
	return 0;
}

static struct librsvd_connect_params connect_params(void)
{
	return (struct librsvd_connect_params) {
		.server = getenv("SERVER_IP"),
		.port = atoi(getenv("SERVER_PORT")),
		.share = getenv("SHARE"),
		.user = getenv("USERNAME"),
		.password = getenv("PASSWORD"),
		.timeout_msec = PATIENCE_SEC * 1000,
	};
}

/* A connection of its own, so a smbd process of its own. */
static struct librsvd_conn *connect_to_share(struct fixture *f)
{
	struct librsvd_connect_params params = connect_params();
	struct librsvd_conn *conn = NULL;

	assert_ok(librsvd_connect(f, NULL, &params, &conn));
	return conn;
}

static NTSTATUS try_open(struct fixture *f, struct librsvd_conn *conn,
			 const struct librsvd_guid *initiator,
			 struct librsvd_disk **disk)
{
	struct librsvd_open_params params = {
		.path = f->name,
		.initiator_id = initiator,
		.host_name = "node1",
	};

	return librsvd_open(f, conn, &params, disk);
}

static struct librsvd_disk *open_disk(struct fixture *f,
				      struct librsvd_conn *conn,
				      const struct librsvd_guid *initiator)
{
	struct librsvd_disk *disk = NULL;

	assert_ok(try_open(f, conn, initiator, &disk));
	return disk;
}

static struct librsvd_disk *attach(struct fixture *f,
				   const struct librsvd_guid *initiator)
{
	return open_disk(f, connect_to_share(f), initiator);
}

static uint8_t *pattern(TALLOC_CTX *mem_ctx, size_t length, uint8_t seed)
{
	uint8_t *buf = talloc_array(mem_ctx, uint8_t, length);
	size_t i;

	for (i = 0; i < length; i++) {
		buf[i] = seed + i * 13 + (i >> 9);
	}
	return buf;
}

static void assert_reads(struct librsvd_disk *disk, uint64_t offset,
			 const uint8_t *expected, size_t length)
{
	uint8_t *buf = talloc_array(disk, uint8_t, length);
	size_t nread = 0;

	assert_ok(librsvd_read(disk, buf, length, offset, &nread));
	assert_int_equal(nread, length);
	assert_true(memcmp(buf, expected, length) == 0);
	talloc_free(buf);
}

/*
 * What librsvd never sends
 */

struct plain_file {
	uint64_t persistent;
	uint64_t volatile_id;
};

static NTSTATUS plain_open(struct librsvd_conn *conn, const char *name,
			   uint32_t access_mask, uint32_t share_access,
			   struct plain_file *file)
{
	return smb2cli_create(LIBRSVD_SMB2(conn), name,
			      SMB2_OPLOCK_LEVEL_NONE,
			      SMB2_IMPERSONATION_IMPERSONATION, access_mask,
			      FILE_ATTRIBUTE_NORMAL, share_access, FILE_OPEN,
			      FILE_NON_DIRECTORY_FILE, NULL, &file->persistent,
			      &file->volatile_id, NULL, NULL, NULL);
}

#define SHARE_ALL (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)

static void plain_close(struct librsvd_conn *conn, struct plain_file *file)
{
	assert_ok(smb2cli_close(LIBRSVD_SMB2(conn), 0, file->persistent,
				file->volatile_id));
}

static NTSTATUS open_with_context(struct fixture *f, struct librsvd_conn *conn,
				  DATA_BLOB context)
{
	struct smb2_create_blobs blobs = { .num_blobs = 0 };
	struct smb2_create_blobs answer = { .num_blobs = 0 };
	uint64_t persistent, volatile_id;
	char *name = talloc_asprintf(f, "%s:SharedVirtualDisk", f->name);

	assert_ok(smb2_create_blob_add(f, &blobs, SVHDX_OPEN_DEVICE_CONTEXT,
				       context));
	return smb2cli_create(LIBRSVD_SMB2(conn), name,
			      SMB2_OPLOCK_LEVEL_NONE,
			      SMB2_IMPERSONATION_IMPERSONATION,
			      SEC_FILE_READ_DATA | SEC_FILE_WRITE_DATA,
			      FILE_ATTRIBUTE_NORMAL,
			      FILE_SHARE_READ | FILE_SHARE_WRITE, FILE_OPEN,
			      FILE_NO_INTERMEDIATE_BUFFERING, &blobs,
			      &persistent, &volatile_id, NULL, f, &answer);
}

/* MS-RSVD 2.2.4.12, 2.2.4.32: a good context, to be spoilt. */
static DATA_BLOB good_context(struct fixture *f, uint8_t version)
{
	DATA_BLOB blob = data_blob_talloc_zero(f, version == 1 ? 168 : 192);

	blob.data[0] = version;
	blob.data[4] = 1;	/* HasInitiatorId */
	memcpy(blob.data + 8, initiator_a.bytes, 16);
	blob.data[28] = 1;	/* SVHDX_ORIGINATOR_PVHDPARSER */
	return blob;
}

static NTSTATUS fsctl(struct librsvd_disk *disk, uint32_t code,
		      const void *input, size_t length, uint32_t max_output,
		      TALLOC_CTX *mem_ctx, DATA_BLOB *output)
{
	DATA_BLOB in = data_blob_const(input, length);

	return smb2cli_ioctl(LIBRSVD_SMB2(disk->conn), disk->fid_persistent,
			     disk->fid_volatile, code, 0, &in, max_output,
			     NULL, SMB2_IOCTL_FLAG_IS_FSCTL, mem_ctx, NULL,
			     output);
}

static NTSTATUS raw_request(struct fixture *f, struct librsvd_conn *conn,
			    uint16_t opcode, const uint8_t *fixed,
			    size_t fixed_length, const uint8_t *dyn,
			    size_t dyn_length)
{
	struct tevent_context *ev = samba_tevent_context_init(f);
	struct tevent_req *req = NULL;
	NTSTATUS status = NT_STATUS_UNSUCCESSFUL;

	req = smb2cli_req_send(f, ev, conn->cli->conn, opcode, 0, 0,
			       conn->timeout_msec, conn->cli->smb2.tcon,
			       conn->cli->smb2.session, fixed, fixed_length,
			       dyn, dyn_length, 0);
	assert_true(tevent_req_poll_ntstatus(req, ev, &status));
	status = smb2cli_req_recv(req, f, NULL, NULL, 0);
	talloc_free(req);
	talloc_free(ev);
	return status;
}

#define FSCTL_SYNC_TUNNEL 0x00090304

/* Status of the header; the FSCTL has to succeed. */
static NTSTATUS tunnel_status(struct librsvd_disk *disk, uint32_t operation,
			      const void *payload, size_t length,
			      uint32_t max_output)
{
	NTSTATUS status = NT_STATUS_UNSUCCESSFUL;
	uint8_t *output = NULL;
	size_t output_length = 0;

	assert_ok(librsvd_tunnel(disk, disk, operation, 0, payload, length,
				 max_output, &status, &output,
				 &output_length));
	return status;
}

/* The FSCTL fails, because there is too little room for its answer. */
static NTSTATUS tunnel_too_small(struct librsvd_disk *disk, uint32_t operation,
				 size_t length, uint32_t max_output)
{
	uint8_t payload[64] = { 0 };
	NTSTATUS status, header_status;
	uint8_t *output = NULL;
	size_t output_length = 0;

	if (operation == LIBRSVD_SCSI) {
		payload[0] = 36;	/* Length */
		payload[4] = 6;		/* CDBLength */
		payload[6] = 2;		/* Disposition */
	}
	status = librsvd_tunnel(disk, disk, operation, 0, payload, length,
				max_output, &header_status, &output,
				&output_length);
	return status;
}

/*
 * The open, MS-RSVD 3.2.5.1
 */

static void a_version_1_open_gets_its_own_context_back(void **state)
{
	struct fixture *f = *state;
	struct librsvd_open_params params = {
		.path = f->name,
		.version = 1,
		.initiator_id = &initiator_a,
		.host_name = "client01",
		.flags = 0x12345678,
	};
	const struct librsvd_open_response *response = NULL;
	struct librsvd_disk *disk = NULL;

	assert_ok(librsvd_open(f, connect_to_share(f), &params, &disk));

	response = librsvd_disk_open_response(disk);
	assert_int_equal(response->version, 1);
	assert_true(response->has_initiator_id);
	assert_memory_equal(response->initiator_id.bytes, initiator_a.bytes,
			    16);
	assert_int_equal(response->flags, 0x12345678);
	assert_int_equal(response->originator, LIBRSVD_ORIGINATOR_PVHDPARSER);
	assert_string_equal(response->host_name, "client01");
}

static void a_version_2_open_is_told_the_geometry(void **state)
{
	struct fixture *f = *state;
	const struct librsvd_open_response *response = NULL;

	response = librsvd_disk_open_response(attach(f, &initiator_a));

	assert_int_equal(response->version, 2);
	assert_true(response->properties_initialized);
	assert_int_equal(response->server_version, 2);
	assert_int_equal(response->sector_size, 512);
	assert_int_equal(response->physical_sector_size, 4096);
	assert_int_equal(response->virtual_size, DISK_SIZE);
}

static void an_open_without_initiator_is_answered_so(void **state)
{
	struct fixture *f = *state;

	assert_false(librsvd_disk_open_response(attach(f, NULL))->
		     has_initiator_id);
}

static void a_context_that_is_too_short_is_refused(void **state)
{
	struct fixture *f = *state;
	struct librsvd_conn *conn = connect_to_share(f);
	DATA_BLOB v1 = good_context(f, 1);
	DATA_BLOB v2 = good_context(f, 2);

	v1.length -= 1;
	v2.length -= 1;

	assert_status(open_with_context(f, conn, v1),
		      NT_STATUS_BUFFER_TOO_SMALL);
	assert_status(open_with_context(f, conn, v2),
		      NT_STATUS_BUFFER_TOO_SMALL);
}

static void a_context_of_unknown_version_is_refused(void **state)
{
	struct fixture *f = *state;
	struct librsvd_conn *conn = connect_to_share(f);
	DATA_BLOB blob = good_context(f, 2);

	blob.data[0] = 3;
	assert_status(open_with_context(f, conn, blob),
		      NT_STATUS_INVALID_PARAMETER);
	blob.data[0] = 0;
	assert_status(open_with_context(f, conn, blob),
		      NT_STATUS_INVALID_PARAMETER);
}

static void a_boolean_that_is_neither_0_nor_1_is_refused(void **state)
{
	struct fixture *f = *state;
	struct librsvd_conn *conn = connect_to_share(f);
	DATA_BLOB blob = good_context(f, 1);

	blob.data[4] = 2;
	assert_status(open_with_context(f, conn, blob),
		      NT_STATUS_INVALID_PARAMETER);
}

static void what_is_no_image_cannot_be_attached(void **state)
{
	struct fixture *f = *state;
	struct librsvd_conn *conn = connect_to_share(f);
	struct librsvd_disk *disk = NULL;
	int fd;

	fd = open(f->path, O_WRONLY | O_TRUNC);
	assert_int_not_equal(fd, -1);
	assert_status(try_open(f, conn, &initiator_a, &disk),
		      NT_STATUS_FILE_CORRUPT_ERROR);

	assert_int_equal(write(fd, "no image", 8), 8);
	close(fd);
	assert_status(try_open(f, conn, &initiator_a, &disk),
		      NT_STATUS_FILE_CORRUPT_ERROR);
}

static void what_is_not_there_cannot_be_attached(void **state)
{
	struct fixture *f = *state;
	struct librsvd_conn *conn = connect_to_share(f);
	struct librsvd_disk *disk = NULL;

	unlink(f->path);
	assert_status(try_open(f, conn, &initiator_a, &disk),
		      NT_STATUS_OBJECT_NAME_NOT_FOUND);
}

static void an_open_for_the_file_sees_the_file(void **state)
{
	struct fixture *f = *state;
	struct librsvd_open_params params = {
		.path = f->name,
		.initiator_id = &initiator_a,
		.originator = LIBRSVD_ORIGINATOR_VHDMP,
	};
	struct librsvd_disk *disk = NULL;

	assert_ok(librsvd_open(f, connect_to_share(f), &params, &disk));

	/* MS-VHDX 2.2.1 */
	assert_reads(disk, 0, (const uint8_t *)"vhdxfile", 8);
}

static void an_open_for_the_file_is_refused_while_it_is_a_disk(void **state)
{
	struct fixture *f = *state;
	struct librsvd_open_params params = {
		.path = f->name,
		.initiator_id = &initiator_b,
		.originator = LIBRSVD_ORIGINATOR_VHDMP,
	};
	struct librsvd_disk *disk = NULL;

	attach(f, &initiator_a);

	assert_status(librsvd_open(f, connect_to_share(f), &params, &disk),
		      LIBRSVD_STATUS_VHD_SHARED);
}

static void smb_3_0_is_too_old(void **state)
{
	struct fixture *f = *state;
	struct librsvd_conn *conn = connect_to_share(f);
	struct cli_credentials *creds = NULL;
	DATA_BLOB context = good_context(f, 1);
	NTSTATUS status;

	creds = cli_session_creds_init(f, getenv("USERNAME"), NULL, NULL,
				       getenv("PASSWORD"), false, false,
				       false, false);
	lp_set_cmdline("client max protocol", "SMB3_00");
	status = cli_full_connection_creds(&conn->cli, "test",
					   getenv("SERVER_IP"), NULL,
					   atoi(getenv("SERVER_PORT")),
					   getenv("SHARE"), "?????", creds, 0);
	lp_set_cmdline("client max protocol", "SMB3_11");
	assert_ok(status);
	assert_int_equal(smbXcli_conn_protocol(conn->cli->conn),
			 PROTOCOL_SMB3_00);

	/* The context is not looked at, and there is no such stream. */
	assert_status(open_with_context(f, conn, context),
		      NT_STATUS_OBJECT_NAME_NOT_FOUND);
	cli_shutdown(conn->cli);
	conn->cli = NULL;
}

static void a_connection_can_be_encrypted(void **state)
{
	struct fixture *f = *state;
	struct librsvd_connect_params params = connect_params();
	struct librsvd_conn *conn = NULL;
	struct librsvd_disk *disk = NULL;
	uint8_t *data = pattern(f, 65536, 1);

	params.encryption = LIBRSVD_REQUIRED;
	params.max_dialect = 0x0302;
	assert_ok(librsvd_connect(f, NULL, &params, &conn));
	assert_int_equal(librsvd_conn_dialect(conn), 0x0302);

	disk = open_disk(f, conn, &initiator_a);
	assert_ok(librsvd_write(disk, data, 65536, 0, 0));
	assert_reads(disk, 0, data, 65536);
}

/*
 * Who else has it open
 */

static void the_handle_state_is_seen_across_processes(void **state)
{
	struct fixture *f = *state;
	struct librsvd_conn *conn = connect_to_share(f);
	struct librsvd_disk plain = { .conn = conn };
	struct librsvd_disk *disk = NULL;
	struct librsvd_support support;
	struct plain_file file;

	assert_ok(plain_open(conn, f->name, SEC_FILE_READ_DATA, SHARE_ALL,
			     &file));
	plain.fid_persistent = file.persistent;
	plain.fid_volatile = file.volatile_id;

	assert_ok(librsvd_query_support(&plain, &support));
	assert_int_equal(support.support, 7);
	assert_int_equal(support.handle_state, LIBRSVD_HANDLE_NONE);

	disk = attach(f, &initiator_a);
	assert_ok(librsvd_query_support(&plain, &support));
	assert_int_equal(support.handle_state, LIBRSVD_HANDLE_FILE_SHARED);
	assert_ok(librsvd_query_support(disk, &support));
	assert_int_equal(support.handle_state, LIBRSVD_HANDLE_SHARED);

	assert_ok(librsvd_close(disk));
	assert_ok(librsvd_query_support(&plain, &support));
	assert_int_equal(support.handle_state, LIBRSVD_HANDLE_NONE);
}

static void a_disk_cannot_be_opened_plainly_but_for_reading(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	struct librsvd_conn *conn = connect_to_share(f);
	struct plain_file file;

	assert_status(plain_open(conn, f->name, SEC_FILE_WRITE_DATA,
				 SHARE_ALL, &file),
		      NT_STATUS_SHARING_VIOLATION);
	assert_status(plain_open(conn, f->name, SEC_FILE_APPEND_DATA,
				 SHARE_ALL, &file),
		      NT_STATUS_SHARING_VIOLATION);
	assert_status(plain_open(conn, f->name, SEC_STD_DELETE, SHARE_ALL,
				 &file),
		      NT_STATUS_SHARING_VIOLATION);

	assert_ok(plain_open(conn, f->name, SEC_FILE_READ_DATA, SHARE_ALL,
			     &file));
	plain_close(conn, &file);

	assert_ok(librsvd_close(disk));
	assert_ok(plain_open(conn, f->name, SEC_FILE_WRITE_DATA, SHARE_ALL,
			     &file));
}

static void a_file_that_is_open_for_writing_cannot_be_attached(void **state)
{
	struct fixture *f = *state;
	struct librsvd_conn *conn = connect_to_share(f);
	struct librsvd_disk *disk = NULL;
	struct plain_file file;

	assert_ok(plain_open(conn, f->name, SEC_FILE_WRITE_DATA, SHARE_ALL,
			     &file));
	assert_status(try_open(f, connect_to_share(f), &initiator_a, &disk),
		      NT_STATUS_SHARING_VIOLATION);

	plain_close(conn, &file);
	assert_ok(try_open(f, connect_to_share(f), &initiator_a, &disk));
}

static void a_disk_whose_client_is_gone_is_free_again(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	struct librsvd_conn *conn = connect_to_share(f);
	struct plain_file file;
	time_t end = time(NULL) + PATIENCE_SEC;
	NTSTATUS status;

	/* No CLOSE, and no end of the session: the socket just goes. */
	talloc_free(disk->conn);

	do {
		status = plain_open(conn, f->name, SEC_FILE_WRITE_DATA,
				    SHARE_ALL, &file);
	} while (NT_STATUS_EQUAL(status, NT_STATUS_SHARING_VIOLATION) &&
		 time(NULL) < end);
	assert_ok(status);
}

static void a_disk_cannot_be_renamed_or_linked(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = NULL;
	struct librsvd_open_params params = {
		.path = f->name,
		.initiator_id = &initiator_a,
		.access_mask = SEC_FILE_READ_DATA | SEC_FILE_WRITE_DATA |
			       SEC_STD_DELETE,
		.share_access = SHARE_ALL,
	};
	/* MS-FSCC 2.4.37.2, 2.4.21.2: replace, root directory, a name */
	uint8_t rename[22] = { [16] = 2, [20] = 'x' };
	DATA_BLOB blob = data_blob_const(rename, sizeof(rename));

	assert_ok(librsvd_open(f, connect_to_share(f), &params, &disk));

	/* FileRenameInformation */
	assert_status(smb2cli_set_info(LIBRSVD_SMB2(disk->conn),
				       SMB2_0_INFO_FILE, 10, &blob, 0,
				       disk->fid_persistent,
				       disk->fid_volatile),
		      NT_STATUS_NOT_SUPPORTED);
	/* FileLinkInformation */
	assert_status(smb2cli_set_info(LIBRSVD_SMB2(disk->conn),
				       SMB2_0_INFO_FILE, 11, &blob, 0,
				       disk->fid_persistent,
				       disk->fid_volatile),
		      NT_STATUS_INVALID_PARAMETER);
}

static void a_disk_cannot_be_locked(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	/* MS-SMB2 2.2.26, one exclusive lock that does not wait */
	uint8_t fixed[24] = { 48, 0, 1, 0 };
	uint8_t lock[24] = { [8] = 1, [16] = 0x12 };

	SBVAL(fixed, 8, disk->fid_persistent);
	SBVAL(fixed, 16, disk->fid_volatile);

	assert_status(raw_request(f, disk->conn, SMB2_OP_LOCK, fixed,
				  sizeof(fixed), lock, sizeof(lock)),
		      NT_STATUS_LOCK_NOT_GRANTED);
}

static void offloaded_copies_are_refused(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	/* MS-FSCC 2.3.41, 2.3.80 */
	uint8_t offload_read[32] = { 32 };
	uint8_t offload_write[544] = { 0x20, 0x02 };
	DATA_BLOB output;

	assert_status(fsctl(disk, 0x00094264, offload_read,
			    sizeof(offload_read), 528, f, &output),
		      NT_STATUS(0xC000A2A3));
	assert_status(fsctl(disk, 0x00098268, offload_write,
			    sizeof(offload_write), 16, f, &output),
		      NT_STATUS(0xC000A2A4));
}

/*
 * The tunnel, MS-RSVD 3.2.5.5
 */

static void the_disk_tells_what_it_is(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	struct librsvd_initial_info initial;
	struct librsvd_disk_info info;
	struct stat st;
	bool is_valid = false;

	assert_ok(librsvd_initial_info(disk, &initial));
	assert_int_equal(initial.server_version, 2);
	assert_int_equal(initial.sector_size, 512);
	assert_int_equal(initial.physical_sector_size, 4096);
	assert_int_equal(initial.virtual_size, DISK_SIZE);

	assert_ok(librsvd_disk_info(disk, &info));
	assert_int_equal(info.type, LIBRSVD_DISK_DYNAMIC);
	assert_int_equal(info.format, LIBRSVD_FORMAT_VHDX);
	assert_int_equal(info.block_size, BLOCK_SIZE);
	assert_true(info.is_mounted);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(info.file_size, st.st_size);

	assert_ok(librsvd_validate(disk, &is_valid));
	assert_true(is_valid);
	assert_ok(librsvd_check_connection(disk));
}

static void a_fixed_disk_has_no_block_size(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk_info info;

	unlink(f->path);
	create_image(f->path, true);

	assert_ok(librsvd_disk_info(attach(f, &initiator_a), &info));

	/* MS-RSVD 6 <17> */
	assert_int_equal(info.type, LIBRSVD_DISK_FIXED);
	assert_int_equal(info.block_size, 0);
}

static void a_plain_handle_has_no_tunnel(void **state)
{
	struct fixture *f = *state;
	struct librsvd_conn *conn = connect_to_share(f);
	struct librsvd_disk plain = { .conn = conn };
	struct librsvd_initial_info info;
	struct plain_file file;

	assert_ok(plain_open(conn, f->name, SEC_FILE_READ_DATA, SHARE_ALL,
			     &file));
	plain.fid_persistent = file.persistent;
	plain.fid_volatile = file.volatile_id;

	/* MS-SMB2 3.3.5.15.15 has the word before MS-RSVD 3.2.5.5 */
	assert_status(librsvd_initial_info(&plain, &info),
		      NT_STATUS_INVALID_DEVICE_REQUEST);
}

static void a_tunnel_request_shorter_than_its_header_is_refused(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	uint8_t header[15] = { 0x01, 0x10, 0x00, 0x02 };
	DATA_BLOB output;

	assert_status(fsctl(disk, FSCTL_SYNC_TUNNEL, header, sizeof(header),
			    40, f, &output),
		      NT_STATUS_BUFFER_TOO_SMALL);
}

static void an_operation_of_another_kind_is_refused(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	uint8_t header[16] = { 0x01, 0x10, 0x00, 0x03 };
	DATA_BLOB output;

	assert_status(fsctl(disk, FSCTL_SYNC_TUNNEL, header, sizeof(header),
			    40, f, &output),
		      NT_STATUS_INVALID_DEVICE_REQUEST);
}

static void an_operation_of_version_3_is_a_version_mismatch(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);

	assert_status(tunnel_status(disk, 0x02003001, NULL, 0, 64),
		      LIBRSVD_STATUS_VERSION_MISMATCH);
}

static void an_operation_that_does_not_exist_is_an_invalid_parameter(
	void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);

	assert_status(tunnel_status(disk, 0x02001FFF, NULL, 0, 64),
		      NT_STATUS_INVALID_PARAMETER);
}

static void too_little_room_for_the_answer_is_refused(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	uint8_t none[1] = { 0 };
	DATA_BLOB output;

	assert_status(tunnel_too_small(disk, LIBRSVD_GET_INITIAL_INFO, 0, 39),
		      NT_STATUS_BUFFER_TOO_SMALL);
	assert_status(tunnel_too_small(disk, LIBRSVD_SRB_STATUS, 28, 39),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(tunnel_too_small(disk, LIBRSVD_GET_DISK_INFO, 56, 71),
		      NT_STATUS_BUFFER_TOO_SMALL);
	assert_status(tunnel_too_small(disk, LIBRSVD_SCSI, 36, 51),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(tunnel_too_small(disk, LIBRSVD_VALIDATE_DISK, 56, 16),
		      NT_STATUS_BUFFER_TOO_SMALL);
	assert_status(tunnel_too_small(disk, LIBRSVD_QUERY_SAFE_SIZE, 0, 23),
		      NT_STATUS_BUFFER_TOO_SMALL);
	assert_status(fsctl(disk, 0x00090300, none, 0, 7, f, &output),
		      NT_STATUS_BUFFER_TOO_SMALL);
}

static void too_little_room_to_check_the_connection_is_an_overflow(
	void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	uint8_t header[16] = { 0x03, 0x10, 0x00, 0x02 };
	/*
	 * MS-SMB2 2.2.31; smb2cli_ioctl() takes this status for a success
	 * that has data.
	 */
	uint8_t fixed[56] = {
		57, 0, 0, 0, 0x04, 0x03, 0x09, 0x00,
		[24] = 0x78, [28] = sizeof(header), [44] = 15, [48] = 1,
	};

	SBVAL(fixed, 8, disk->fid_persistent);
	SBVAL(fixed, 16, disk->fid_volatile);

	assert_status(raw_request(f, disk->conn, SMB2_OP_IOCTL, fixed,
				  sizeof(fixed), header, sizeof(header)),
		      STATUS_BUFFER_OVERFLOW);
}

static void the_asynchronous_tunnel_serves_the_same(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	NTSTATUS status = NT_STATUS_UNSUCCESSFUL;
	uint8_t *output = NULL;
	size_t length = 0;

	assert_ok(librsvd_tunnel(f, disk, LIBRSVD_GET_INITIAL_INFO,
				 LIBRSVD_TUNNEL_ASYNC, NULL, 0, 40, &status,
				 &output, &length));
	assert_ok(status);
	assert_int_equal(length, 24);
}

/*
 * SCSI through the tunnel, MS-RSVD 3.2.5.5.5
 */

static struct librsvd_scsi_result scsi(struct librsvd_disk *disk,
				       const uint8_t *cdb, size_t cdb_length,
				       uint32_t data_in_length)
{
	struct librsvd_scsi_command command = {
		.cdb = cdb,
		.cdb_length = cdb_length,
		.data_in_length = data_in_length,
	};
	struct librsvd_scsi_result result;

	assert_ok(librsvd_scsi(disk, disk, &command, &result));
	return result;
}

static struct librsvd_scsi_result scsi_out(struct librsvd_disk *disk,
					   const uint8_t *cdb,
					   size_t cdb_length,
					   const uint8_t *data,
					   uint32_t length)
{
	struct librsvd_scsi_command command = {
		.cdb = cdb,
		.cdb_length = cdb_length,
		.data_out = data,
		.data_out_length = length,
	};
	struct librsvd_scsi_result result;

	assert_ok(librsvd_scsi(disk, disk, &command, &result));
	return result;
}

static void inquiry_tells_a_disk(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	static const uint8_t inquiry[6] = { 0x12, 0, 0, 0, 96, 0 };
	struct librsvd_scsi_result result;

	result = scsi(disk, inquiry, sizeof(inquiry), 96);

	assert_int_equal(result.sense.scsi_status, 0);
	assert_int_equal(result.sense.srb_status, LIBRSVD_SRB_SUCCESS);
	assert_true(result.data_in_length >= 36);
	assert_int_equal(result.data_in[0], 0x00);	/* direct access */
}

static void read_capacity_tells_the_last_block(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	static const uint8_t read_capacity[10] = { 0x25 };
	static const uint8_t expected[8] = {
		0x00, 0x01, 0xFF, 0xFF, 0x00, 0x00, 0x02, 0x00,
	};
	struct librsvd_scsi_result result;

	result = scsi(disk, read_capacity, sizeof(read_capacity), 8);

	assert_int_equal(result.sense.scsi_status, 0);
	assert_int_equal(result.data_in_length, 8);
	assert_memory_equal(result.data_in, expected, 8);
}

static void an_unknown_command_is_a_check_condition(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	static const uint8_t unknown[6] = { 0xFF };
	struct librsvd_scsi_result result;

	result = scsi(disk, unknown, sizeof(unknown), 0);

	assert_int_equal(result.sense.scsi_status, 0x02);
	assert_int_not_equal(result.sense.srb_status, LIBRSVD_SRB_SUCCESS);
	/* ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE */
	assert_int_equal(result.sense.data[2] & 0x0F, 0x05);
	assert_int_equal(result.sense.data[12], 0x20);
	assert_int_equal(result.sense.data[13], 0x00);
}

static void scsi_without_initiator_is_an_invalid_handle(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, NULL);
	static const uint8_t test_unit_ready[6] = { 0x00 };
	struct librsvd_scsi_command command = {
		.cdb = test_unit_ready,
		.cdb_length = sizeof(test_unit_ready),
	};
	struct librsvd_scsi_result result;

	assert_status(librsvd_scsi(f, disk, &command, &result),
		      NT_STATUS_INVALID_HANDLE);
}

static void what_only_a_later_version_knows_is_refused(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a), *other = NULL;
	struct librsvd_conn *conn = NULL;
	static const uint8_t test_unit_ready[6] = { 0x00 };
	struct librsvd_connect_params connect = {
		.server = getenv("SERVER_IP"),
		.share = getenv("SHARE"),
		.reserved = { disk },
	};
	struct librsvd_open_params open = {
		.path = "disk.vhdx",
		.reserved = { disk },
	};
	struct librsvd_scsi_command command = {
		.cdb = test_unit_ready,
		.cdb_length = sizeof(test_unit_ready),
		.reserved = { disk },
	};
	struct librsvd_meta_operation operation = {
		.type = LIBRSVD_META_OPTIMIZE,
		.reserved = { disk },
	};
	struct librsvd_change_tracking_params tracking = {
		.reserved = { disk },
	};
	struct librsvd_guid transaction = librsvd_guid_random();
	struct librsvd_scsi_result result;

	assert_status(librsvd_connect(f, NULL, &connect, &conn),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(librsvd_open(f, connect_to_share(f), &open, &other),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(librsvd_scsi(f, disk, &command, &result),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(librsvd_meta_operation(disk, &transaction, &operation,
					     NULL),
		      NT_STATUS_INVALID_PARAMETER);
	assert_status(librsvd_change_tracking_start(disk, &tracking),
		      NT_STATUS_INVALID_PARAMETER);
}

static void a_scsi_request_that_is_malformed_is_refused(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	/* Length, CDBLength, SenseInfoExLength, Disposition */
	static const uint8_t good[36] = { 36, 0, 0, 0, 6, 20, 2 };
	static const struct {
		size_t offset;
		uint8_t value;
	} spoilt[] = {
		{ 0, 35 },	/* Length is not 36 */
		{ 4, 17 },	/* CDBLength > 16 */
		{ 5, 21 },	/* SenseInfoExLength > 20 */
	};
	uint8_t request[36];
	size_t i;

	assert_ok(tunnel_status(disk, LIBRSVD_SCSI, good, sizeof(good), 52));

	for (i = 0; i < ARRAY_SIZE(spoilt); i++) {
		memcpy(request, good, sizeof(request));
		request[spoilt[i].offset] = spoilt[i].value;
		assert_status(tunnel_status(disk, LIBRSVD_SCSI, request,
					    sizeof(request), 52),
			      NT_STATUS_INVALID_PARAMETER);
	}
	assert_status(tunnel_status(disk, LIBRSVD_SCSI, good, 35, 52),
		      NT_STATUS_INVALID_PARAMETER);
}

/*
 * Data
 */

static void what_one_initiator_writes_the_other_reads(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *a = attach(f, &initiator_a);
	struct librsvd_disk *b = attach(f, &initiator_b);
	uint8_t *from_a = pattern(f, 3 * BLOCK_SIZE, 1);
	uint8_t *from_b = pattern(f, 8192, 2);

	/* Not on the border of a block, so that four are allocated. */
	assert_ok(librsvd_write(a, from_a, 3 * BLOCK_SIZE, 512 * 1024, 0));
	assert_reads(b, 512 * 1024, from_a, 3 * BLOCK_SIZE);

	assert_ok(librsvd_write(b, from_b, 8192, 512 * 1024 + 4096, 0));
	assert_reads(a, 512 * 1024 + 4096, from_b, 8192);

	assert_ok(librsvd_write(b, from_b, 8192, 32 * BLOCK_SIZE, 0));
	assert_reads(a, 32 * BLOCK_SIZE, from_b, 8192);
}

static void tunnel_and_smb2_see_the_same_data(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *a = attach(f, &initiator_a);
	struct librsvd_disk *b = attach(f, &initiator_b);
	/* WRITE (10) and READ (10) of 8 blocks at LBA 100 */
	static const uint8_t write10[10] = { 0x2A, 0, 0, 0, 0, 100, 0, 0, 8 };
	static const uint8_t read10[10] = { 0x28, 0, 0, 0, 0, 100, 0, 0, 8 };
	uint8_t *data = pattern(f, 4096, 3);
	struct librsvd_scsi_result result;

	result = scsi_out(a, write10, sizeof(write10), data, 4096);
	assert_int_equal(result.sense.scsi_status, 0);
	assert_reads(b, 51200, data, 4096);

	data = pattern(f, 4096, 4);
	assert_ok(librsvd_write(b, data, 4096, 51200, 0));
	result = scsi(a, read10, sizeof(read10), 4096);
	assert_int_equal(result.sense.scsi_status, 0);
	assert_int_equal(result.data_in_length, 4096);
	assert_memory_equal(result.data_in, data, 4096);
}

static void what_was_never_written_reads_as_zeros(void **state)
{
	struct fixture *f = *state;
	uint8_t *zeros = talloc_zero_array(f, uint8_t, 2 * BLOCK_SIZE);

	assert_reads(attach(f, &initiator_a), DISK_SIZE - 2 * BLOCK_SIZE,
		     zeros, 2 * BLOCK_SIZE);
}

static void what_was_flushed_is_in_the_image(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	uint8_t *data = pattern(f, 1000 * 512, 5);
	uint8_t *buf = talloc_array(f, uint8_t, 1000 * 512);
	struct vhdx_storage *storage = NULL;
	struct vhdx *image = NULL;

	assert_ok(librsvd_write(disk, data, 1000 * 512, 512, 0));
	assert_ok(librsvd_flush(disk));
	assert_ok(librsvd_write(disk, data, 512, 20 * BLOCK_SIZE,
				LIBRSVD_WRITE_THROUGH));
	assert_ok(librsvd_close(disk));

	assert_int_equal(vhdx_storage_posix_open(f, f->path, O_RDONLY,
						 &storage), 0);
	assert_ok(vhdx_open(f, storage, NULL, VHDX_OPEN_READ_ONLY, &image,
			    NULL));
	assert_ok(vhdx_read(image, buf, 1000 * 512, 512));
	assert_memory_equal(buf, data, 1000 * 512);
	assert_ok(vhdx_read(image, buf, 512, 20 * BLOCK_SIZE));
	assert_memory_equal(buf, data, 512);
	assert_ok(vhdx_close(&image));
}

static void many_requests_at_once_are_served(void **state)
{
	enum { NUM = 1000, SIZE = 4096 };
	struct fixture *f = *state;
	struct tevent_context *ev = samba_tevent_context_init(f);
	struct librsvd_connect_params params = connect_params();
	struct librsvd_conn *conn = NULL;
	struct librsvd_disk *disk = NULL;
	struct tevent_req **reqs = talloc_array(f, struct tevent_req *, NUM);
	uint8_t *data = pattern(f, NUM * SIZE, 6);
	size_t i;

	assert_ok(librsvd_connect(f, ev, &params, &conn));
	disk = open_disk(f, conn, &initiator_a);

	/* From the end, and every other block of the disk first. */
	for (i = 0; i < NUM; i++) {
		size_t at = NUM - 1 - (i * 2 + i / (NUM / 2)) % NUM;

		reqs[i] = librsvd_write_send(f, disk, data + at * SIZE, SIZE,
					     at * SIZE * 8, 0);
		assert_non_null(reqs[i]);
	}
	for (i = 0; i < NUM; i++) {
		assert_true(tevent_req_poll(reqs[i], ev));
		assert_ok(librsvd_write_recv(reqs[i]));
	}
	for (i = 0; i < NUM; i++) {
		assert_reads(disk, i * SIZE * 8, data + i * SIZE, SIZE);
	}
}

/* More than there are credits for, so that some wait here. */
static void start_writes(struct fixture *f, struct librsvd_disk *disk,
			 const uint8_t *data, struct tevent_req **reqs,
			 size_t num)
{
	size_t i;

	for (i = 0; i < num; i++) {
		reqs[i] = librsvd_write_send(f, disk, data, 8 * BLOCK_SIZE, 0,
					     0);
		assert_non_null(reqs[i]);
	}
}

static void requests_fail_when_the_connection_drops(void **state)
{
	enum { NUM = 100 };
	struct fixture *f = *state;
	struct tevent_context *ev = samba_tevent_context_init(f);
	struct librsvd_connect_params params = connect_params();
	struct librsvd_conn *conn = NULL;
	struct librsvd_disk *disk = NULL;
	uint8_t *data = pattern(f, 8 * BLOCK_SIZE, 9);
	struct tevent_req *reqs[NUM];
	size_t i;

	assert_ok(librsvd_connect(f, ev, &params, &conn));
	disk = open_disk(f, conn, &initiator_a);
	start_writes(f, disk, data, reqs, NUM);

	smbXcli_conn_disconnect(conn->cli->conn, NT_STATUS_CONNECTION_RESET);

	for (i = 0; i < NUM; i++) {
		assert_true(tevent_req_poll(reqs[i], ev));
		assert_false(NT_STATUS_IS_OK(librsvd_write_recv(reqs[i])));
	}
	assert_false(librsvd_conn_is_connected(conn));
	assert_status(librsvd_flush(disk), NT_STATUS_CONNECTION_DISCONNECTED);
}

static void requests_fail_when_the_connection_is_freed(void **state)
{
	enum { NUM = 100 };
	struct fixture *f = *state;
	struct tevent_context *ev = samba_tevent_context_init(f);
	struct librsvd_connect_params params = connect_params();
	struct librsvd_conn *conn = NULL;
	struct librsvd_disk *disk = NULL;
	uint8_t *data = pattern(f, 8 * BLOCK_SIZE, 9);
	struct tevent_req *reqs[NUM];
	size_t i;

	assert_ok(librsvd_connect(f, ev, &params, &conn));
	disk = open_disk(f, conn, &initiator_a);
	start_writes(f, disk, data, reqs, NUM);

	talloc_free(conn);

	for (i = 0; i < NUM; i++) {
		assert_true(tevent_req_poll(reqs[i], ev));
		assert_false(NT_STATUS_IS_OK(librsvd_write_recv(reqs[i])));
	}
	assert_status(librsvd_flush(disk), NT_STATUS_CONNECTION_DISCONNECTED);
}

static void the_size_of_the_file_is_that_of_the_disk(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	DATA_BLOB blob;

	/* FileStandardInformation, MS-FSCC 2.4.41 */
	assert_ok(smb2cli_query_info(LIBRSVD_SMB2(disk->conn),
				     SMB2_0_INFO_FILE, 5, 24, NULL, 0, 0,
				     disk->fid_persistent, disk->fid_volatile,
				     f, &blob));
	assert_int_equal(blob.length, 24);
	assert_int_equal(PULL_LE_U64(blob.data, 8), DISK_SIZE);

	/* FileNetworkOpenInformation, MS-FSCC 2.4.29 */
	assert_ok(smb2cli_query_info(LIBRSVD_SMB2(disk->conn),
				     SMB2_0_INFO_FILE, 34, 56, NULL, 0, 0,
				     disk->fid_persistent, disk->fid_volatile,
				     f, &blob));
	assert_int_equal(blob.length, 56);
	assert_int_equal(PULL_LE_U64(blob.data, 40), DISK_SIZE);
}

/*
 * Errors of READ and WRITE, MS-RSVD 3.2.5.3, 3.2.5.4
 */

static void io_without_initiator_leaves_an_error_to_ask_for(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, NULL);
	/* MS-RSVD 6 <12>, <14> */
	static const uint8_t expected[18] = {
		0xF0, 0, 0, 0, 0, 0, 0, 0x0A,
	};
	struct librsvd_sense sense;
	uint8_t buf[512] = { 0 };

	assert_status(librsvd_read(disk, buf, sizeof(buf), 0, NULL),
		      NT_STATUS(0xC05C0001));
	assert_status(librsvd_write(disk, buf, sizeof(buf), 0, 0),
		      NT_STATUS(0xC05C0002));

	assert_ok(librsvd_srb_status(disk, 1, &sense));
	assert_int_equal(sense.srb_status, 0x02);
	assert_int_equal(sense.scsi_status, 0x02);
	assert_memory_equal(sense.data, expected, sizeof(expected));
	assert_ok(librsvd_sense_of_status(disk, NT_STATUS(0xC05C0002),
					  &sense));
	assert_int_equal(sense.scsi_status, 0x02);
}

static void the_key_of_an_error_goes_round_after_255(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, NULL);
	uint8_t buf[512];
	unsigned int i;

	for (i = 1; i <= 257; i++) {
		assert_status(librsvd_read(disk, buf, sizeof(buf), 0, NULL),
			      NT_STATUS(0xC05C0000 | (i & 0xFF)));
	}
}

static void an_error_that_was_never_stored_is_not_available(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	struct librsvd_sense sense;

	assert_status(librsvd_srb_status(disk, 9, &sense),
		      LIBRSVD_STATUS_ERROR_NOT_AVAILABLE);
}

static void io_past_the_end_says_which_block_is_out_of_range(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *disk = attach(f, &initiator_a);
	struct librsvd_sense sense;
	uint8_t buf[1024] = { 0 };
	NTSTATUS status;

	status = librsvd_write(disk, buf, sizeof(buf), DISK_SIZE - 512, 0);

	assert_true(librsvd_status_is_stored(status, NULL));
	assert_ok(librsvd_sense_of_status(disk, status, &sense));
	assert_int_equal(sense.scsi_status, 0x02);
	/* ILLEGAL REQUEST, LOGICAL BLOCK ADDRESS OUT OF RANGE */
	assert_int_equal(sense.data[2] & 0x0F, 0x05);
	assert_int_equal(sense.data[12], 0x21);
	assert_int_equal(sense.data[13], 0x00);
}

static void io_on_a_buffered_handle_is_not_supported(void **state)
{
	struct fixture *f = *state;
	struct librsvd_open_params params = {
		.path = f->name,
		.initiator_id = &initiator_a,
		.buffered = true,
	};
	struct librsvd_disk *disk = NULL;
	uint8_t buf[512] = { 0 };

	assert_ok(librsvd_open(f, connect_to_share(f), &params, &disk));

	assert_status(librsvd_read(disk, buf, sizeof(buf), 0, NULL),
		      NT_STATUS_NOT_SUPPORTED);
	assert_status(librsvd_write(disk, buf, sizeof(buf), 0, 0),
		      NT_STATUS_NOT_SUPPORTED);
}

static void a_handle_for_reading_cannot_write_by_any_path(void **state)
{
	struct fixture *f = *state;
	struct librsvd_open_params params = {
		.path = f->name,
		.initiator_id = &initiator_a,
		.access_mask = SEC_FILE_READ_DATA | SEC_FILE_READ_ATTRIBUTE,
	};
	static const uint8_t write10[10] = { 0x2A, [8] = 1 };
	static const uint8_t write16[16] = { 0x8A, [13] = 1 };
	static const uint8_t write_same[16] = { 0x93, [13] = 1 };
	struct librsvd_disk *disk = NULL;
	uint8_t *data = pattern(f, 512, 7);
	uint8_t *zeros = talloc_zero_array(f, uint8_t, 512);

	assert_ok(librsvd_open(f, connect_to_share(f), &params, &disk));

	assert_status(librsvd_write(disk, data, 512, 0, 0),
		      NT_STATUS_ACCESS_DENIED);
	assert_int_not_equal(scsi_out(disk, write10, sizeof(write10), data,
				      512).sense.scsi_status, 0);
	assert_int_not_equal(scsi_out(disk, write16, sizeof(write16), data,
				      512).sense.scsi_status, 0);
	assert_int_not_equal(scsi_out(disk, write_same, sizeof(write_same),
				      data, 512).sense.scsi_status, 0);
	assert_reads(disk, 0, zeros, 512);
}

static void a_reservation_keeps_the_other_initiator_from_writing(void **state)
{
	struct fixture *f = *state;
	struct librsvd_disk *a = attach(f, &initiator_a);
	struct librsvd_disk *b = attach(f, &initiator_b);
	/* PERSISTENT RESERVE OUT: REGISTER, then RESERVE, write exclusive */
	static const uint8_t registration[10] = { 0x5F, 0x00, [8] = 24 };
	static const uint8_t reservation[10] = { 0x5F, 0x01, 0x01, [8] = 24 };
	static const uint8_t release[10] = { 0x5F, 0x02, 0x01, [8] = 24 };
	uint8_t new_key[24] = { [15] = 0xAA };
	uint8_t key[24] = { [7] = 0xAA };
	uint8_t *data = pattern(f, 512, 8);

	assert_int_equal(scsi_out(a, registration, sizeof(registration),
				  new_key, 24).sense.scsi_status, 0);
	assert_int_equal(scsi_out(a, reservation, sizeof(reservation), key,
				  24).sense.scsi_status, 0);

	assert_status(librsvd_write(b, data, 512, 0, 0),
		      LIBRSVD_STATUS_RESERVATION_CONFLICT);
	assert_ok(librsvd_write(a, data, 512, 0, 0));
	assert_reads(b, 0, data, 512);

	assert_int_equal(scsi_out(a, release, sizeof(release), key,
				  24).sense.scsi_status, 0);
	assert_ok(librsvd_write(b, data, 512, 512, 0));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_version_1_open_gets_its_own_context_back),
		TEST(a_version_2_open_is_told_the_geometry),
		TEST(an_open_without_initiator_is_answered_so),
		TEST(a_context_that_is_too_short_is_refused),
		TEST(a_context_of_unknown_version_is_refused),
		TEST(a_boolean_that_is_neither_0_nor_1_is_refused),
		TEST(what_is_no_image_cannot_be_attached),
		TEST(what_is_not_there_cannot_be_attached),
		TEST(an_open_for_the_file_sees_the_file),
		TEST(an_open_for_the_file_is_refused_while_it_is_a_disk),
		TEST(smb_3_0_is_too_old),
		TEST(a_connection_can_be_encrypted),
		TEST(the_handle_state_is_seen_across_processes),
		TEST(a_disk_cannot_be_opened_plainly_but_for_reading),
		TEST(a_file_that_is_open_for_writing_cannot_be_attached),
		TEST(a_disk_whose_client_is_gone_is_free_again),
		TEST(a_disk_cannot_be_renamed_or_linked),
		TEST(a_disk_cannot_be_locked),
		TEST(offloaded_copies_are_refused),
		TEST(the_disk_tells_what_it_is),
		TEST(a_fixed_disk_has_no_block_size),
		TEST(a_plain_handle_has_no_tunnel),
		TEST(a_tunnel_request_shorter_than_its_header_is_refused),
		TEST(an_operation_of_another_kind_is_refused),
		TEST(an_operation_of_version_3_is_a_version_mismatch),
		TEST(an_operation_that_does_not_exist_is_an_invalid_parameter),
		TEST(too_little_room_for_the_answer_is_refused),
		TEST(too_little_room_to_check_the_connection_is_an_overflow),
		TEST(the_asynchronous_tunnel_serves_the_same),
		TEST(inquiry_tells_a_disk),
		TEST(read_capacity_tells_the_last_block),
		TEST(an_unknown_command_is_a_check_condition),
		TEST(scsi_without_initiator_is_an_invalid_handle),
		TEST(what_only_a_later_version_knows_is_refused),
		TEST(a_scsi_request_that_is_malformed_is_refused),
		TEST(what_one_initiator_writes_the_other_reads),
		TEST(tunnel_and_smb2_see_the_same_data),
		TEST(what_was_never_written_reads_as_zeros),
		TEST(what_was_flushed_is_in_the_image),
		TEST(many_requests_at_once_are_served),
		TEST(requests_fail_when_the_connection_drops),
		TEST(requests_fail_when_the_connection_is_freed),
		TEST(the_size_of_the_file_is_that_of_the_disk),
		TEST(io_without_initiator_leaves_an_error_to_ask_for),
		TEST(the_key_of_an_error_goes_round_after_255),
		TEST(an_error_that_was_never_stored_is_not_available),
		TEST(io_past_the_end_says_which_block_is_out_of_range),
		TEST(io_on_a_buffered_handle_is_not_supported),
		TEST(a_handle_for_reading_cannot_write_by_any_path),
		TEST(a_reservation_keeps_the_other_initiator_from_writing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
