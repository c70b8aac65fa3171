/*
 * vfs_rsvd: who may have a file open beside whom
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Plain opens are those of smbclient.
 */

#include <sys/wait.h>
#include "processes.h"

#define VHD_SHARED NT_STATUS(0xC05CFF0A)

/* Run a command of smbclient on the share; what it says, a child of mem_ctx. */
static char *smbclient(TALLOC_CTX *mem_ctx, const char *command)
{
	char *line = talloc_asprintf(
		mem_ctx,
		"smbclient %s -p %s -U '%s%%%s' '//%s/%s' -c '%s' 2>&1",
		attach_env("CONFIGURATION"), attach_env("SERVER_PORT"),
		attach_env("USERNAME"), attach_env("PASSWORD"),
		attach_env("SERVER_IP"), attach_env("SHARE"), command);
	char *output = talloc_strdup(mem_ctx, "");
	FILE *pipe = popen(line, "r");
	char buf[512];

	assert_non_null(pipe);
	while (fgets(buf, sizeof(buf), pipe) != NULL) {
		output = talloc_strdup_append(output, buf);
	}
	pclose(pipe);
	return output;
}

static void assert_says(const char *output, const char *status)
{
	if (strstr(output, status) == NULL) {
		print_message("smbclient: %s", output);
		fail_msg("no %s", status);
	}
}

static void assert_quiet(const char *output)
{
	if (strstr(output, "NT_STATUS_") != NULL) {
		fail_msg("smbclient: %s", output);
	}
}

/* The bytes of a file of this host. */
static char *contents(TALLOC_CTX *mem_ctx, const char *path, size_t *length)
{
	FILE *file = fopen(path, "r");
	struct stat st;
	char *data = NULL;

	assert_non_null(file);
	assert_int_equal(fstat(fileno(file), &st), 0);
	data = talloc_size(mem_ctx, st.st_size);
	assert_int_equal(fread(data, 1, st.st_size, file), st.st_size);
	fclose(file);
	*length = st.st_size;
	return data;
}

struct fixture {
	struct librsvd_conn *conn;
	struct librsvd_disk *disk;
	char *path;
};

static int attached_disk(void **state)
{
	struct fixture *fixture = talloc_zero(NULL, struct fixture);

	fixture->path = attach_path(fixture, "disk.vhdx");
	unlink(fixture->path);
	attach_image("disk.vhdx", 8 * MIB);
	fixture->conn = attach_connect(fixture, NULL);
	assert_ok(attach_open(fixture, fixture->conn, "disk.vhdx", 0,
			      &fixture->disk));
	*state = fixture;
	return 0;
}

static int detached(void **state)
{
	talloc_free(*state);
	return 0;
}

static void a_plain_open_reads_an_attached_file(void **state)
{
	struct fixture *fixture = *state;
	char *copy = attach_path(fixture, "copy");
	size_t length, copied;
	char *data = NULL;

	assert_quiet(smbclient(fixture, talloc_asprintf(
		fixture, "get disk.vhdx %s", copy)));

	/* The file, not the disk that is in it. */
	data = contents(fixture, copy, &copied);
	contents(fixture, fixture->path, &length);
	assert_int_equal(copied, length);
	assert_memory_equal(data, "vhdxfile", 8);
	unlink(copy);
}

static void a_plain_open_does_not_write_an_attached_file(void **state)
{
	struct fixture *fixture = *state;

	/* reput writes on at the end of what is there. */
	assert_says(smbclient(fixture, "reput /etc/passwd disk.vhdx"),
		    "NT_STATUS_SHARING_VIOLATION");
}

static void a_plain_open_does_not_truncate_an_attached_file(void **state)
{
	struct fixture *fixture = *state;
	size_t before_length, after_length;
	char *before = contents(fixture, fixture->path, &before_length);
	char *after = NULL;

	/* put truncates: smbd does that before an open can be refused. */
	assert_says(smbclient(fixture, "put /etc/passwd disk.vhdx"),
		    "NT_STATUS_SHARING_VIOLATION");

	after = contents(fixture, fixture->path, &after_length);
	assert_int_equal(before_length, after_length);
	assert_memory_equal(before, after, before_length);
}

static void an_attached_file_is_not_deleted(void **state)
{
	struct fixture *fixture = *state;

	assert_says(smbclient(fixture, "del disk.vhdx"),
		    "NT_STATUS_SHARING_VIOLATION");

	assert_int_equal(access(fixture->path, F_OK), 0);
	/* Nor is it marked to be deleted later. */
	assert_ok(librsvd_close(fixture->disk));
	assert_int_equal(access(fixture->path, F_OK), 0);
}

static void an_attached_file_is_not_renamed(void **state)
{
	struct fixture *fixture = *state;

	assert_says(smbclient(fixture, "rename disk.vhdx moved.vhdx"),
		    "NT_STATUS_SHARING_VIOLATION");

	assert_int_equal(access(fixture->path, F_OK), 0);
}

static void nothing_is_renamed_onto_an_attached_file(void **state)
{
	struct fixture *fixture = *state;

	assert_quiet(smbclient(fixture, "put /etc/passwd other"));

	assert_says(smbclient(fixture, "rename other disk.vhdx -f"),
		    "NT_STATUS_");

	assert_int_equal(access(attach_path(fixture, "other"), F_OK), 0);
}

static void a_file_can_be_written_again_after_the_last_close(void **state)
{
	struct fixture *fixture = *state;

	assert_ok(librsvd_close(fixture->disk));

	assert_quiet(smbclient(fixture, "put /etc/passwd disk.vhdx"));
}

static void a_stream_is_not_found_without_the_create_context(void **state)
{
	struct fixture *fixture = *state;

	assert_says(smbclient(fixture,
			      "get disk.vhdx:SharedVirtualDisk /dev/null"),
		    "NT_STATUS_OBJECT_NAME_NOT_FOUND");
	/* It is not created, either. */
	assert_says(smbclient(fixture,
			      "put /etc/passwd disk.vhdx:SharedVirtualDisk"),
		    "NT_STATUS_OBJECT_NAME_NOT_FOUND");
}

static void other_streams_are_invalid_names_without_a_module_for_them(
	void **state)
{
	struct fixture *fixture = *state;

	assert_says(smbclient(fixture, "put /etc/passwd new:stream"),
		    "NT_STATUS_OBJECT_NAME_INVALID");
	/* The base file is not created on the way. */
	assert_int_not_equal(access(attach_path(fixture, "new"), F_OK), 0);
}

/* smbclient has the file open for writing until the returned pipe is closed. */
static FILE *plain_writer(struct fixture *fixture, const char *name)
{
	char *fifo = attach_path(fixture, "fifo");
	char *line = talloc_asprintf(
		fixture,
		"smbclient %s -p %s -U '%s%%%s' '//%s/%s' "
		"-c 'put %s %s' > /dev/null 2>&1 &",
		attach_env("CONFIGURATION"), attach_env("SERVER_PORT"),
		attach_env("USERNAME"), attach_env("PASSWORD"),
		attach_env("SERVER_IP"), attach_env("SHARE"), fifo, name);
	char *path = attach_path(fixture, name);
	struct stat st = { .st_size = 1 };
	FILE *writer = NULL;

	assert_int_equal(mkfifo(fifo, 0666), 0);
	assert_int_equal(system(line), 0);
	writer = fopen(fifo, "w");
	assert_non_null(writer);
	/* It opens the local file first. The remote one is then truncated. */
	while (st.st_size != 0) {
		assert_int_equal(stat(path, &st), 0);
		poll(NULL, 0, 1);
	}
	unlink(fifo);
	return writer;
}

static void a_disk_is_not_attached_while_a_plain_handle_may_write(void **state)
{
	struct fixture *fixture = *state;
	struct librsvd_disk *disk = NULL;
	FILE *writer = NULL;
	NTSTATUS status;

	assert_ok(librsvd_close(fixture->disk));
	writer = plain_writer(fixture, "disk.vhdx");

	status = attach_open(fixture, fixture->conn, "disk.vhdx", 0, &disk);

	assert_status(status, NT_STATUS_SHARING_VIOLATION);
	fclose(writer);
}

static void a_file_with_no_disk_in_it_is_corrupt(void **state)
{
	struct fixture *fixture = *state;
	struct librsvd_disk *disk = NULL;

	assert_quiet(smbclient(fixture, "put /etc/passwd text"));

	assert_status(attach_open(fixture, fixture->conn, "text", 0, &disk),
		      NT_STATUS_FILE_CORRUPT_ERROR);

	/* The refused open left nothing behind. */
	assert_quiet(smbclient(fixture, "del text"));
}

static void who_asks_for_a_snapshot_does_not_get_the_disk(void **state)
{
	struct fixture *fixture = *state;
	struct librsvd_guid initiator = librsvd_guid_random();
	struct librsvd_guid snapshot = librsvd_guid_random();
	struct librsvd_open_params params = {
		.path = "disk.vhdx",
		.initiator_id = &initiator,
		.snapshot_id = &snapshot,
	};
	struct librsvd_disk *disk = NULL;

	assert_status(librsvd_open(fixture, fixture->conn, &params, &disk),
		      NT_STATUS_NOT_FOUND);
}

static void a_symlink_out_of_the_share_is_not_followed(void **state)
{
	struct fixture *fixture = *state;
	char outside[] = "/tmp/rsvd.outside.XXXXXX";
	char *moved = NULL;
	struct librsvd_disk *disk = NULL;
	NTSTATUS status;

	assert_non_null(mkdtemp(outside));
	assert_int_equal(chmod(outside, 0777), 0);
	moved = talloc_asprintf(fixture, "%s/disk.vhdx", outside);
	assert_ok(librsvd_close(fixture->disk));
	assert_int_equal(system(talloc_asprintf(fixture, "mv %s %s",
						fixture->path, moved)),
			 0);
	assert_int_equal(symlink(moved, fixture->path), 0);

	status = attach_open(fixture, fixture->conn, "disk.vhdx", 0, &disk);

	unlink(moved);
	rmdir(outside);
	unlink(fixture->path);
	assert_false(NT_STATUS_IS_OK(status));
}

/*
 * VHDMP gets the file when nobody has the disk any more. smbd notices a lost
 * connection, and the end of a process, in its own time.
 */
static struct librsvd_disk *open_when_free(struct fixture *fixture)
{
	struct librsvd_disk *disk = NULL;
	NTSTATUS status;

	do {
		status = attach_open(fixture, fixture->conn, "disk.vhdx",
				     LIBRSVD_ORIGINATOR_VHDMP, &disk);
	} while (NT_STATUS_EQUAL(status, VHD_SHARED));
	assert_ok(status);
	return disk;
}

static void a_killed_server_process_leaves_no_open_behind(void **state)
{
	struct fixture *fixture = *state;
	uint8_t pattern[4096], data[4096];
	struct librsvd_conn *conn = NULL;
	struct librsvd_disk *disk = NULL;
	pid_t *before = NULL;

	assert_ok(librsvd_close(fixture->disk));
	before = smbd_processes(fixture);
	conn = attach_connect(fixture, NULL);
	assert_ok(attach_open(conn, conn, "disk.vhdx", 0, &disk));
	memset(pattern, 0xA5, sizeof(pattern));
	assert_ok(librsvd_write(disk, pattern, sizeof(pattern), 0, 0));
	assert_status(attach_open(fixture, fixture->conn, "disk.vhdx",
				  LIBRSVD_ORIGINATOR_VHDMP, &fixture->disk),
		      VHD_SHARED);

	kill_new_processes(fixture, before);

	fixture->disk = open_when_free(fixture);
	assert_ok(librsvd_close(fixture->disk));
	/* What it had written is there. */
	assert_ok(attach_open(fixture, fixture->conn, "disk.vhdx", 0,
			      &fixture->disk));
	assert_ok(librsvd_read(fixture->disk, data, sizeof(data), 0, NULL));
	assert_memory_equal(data, pattern, sizeof(data));
}

static void a_lost_connection_detaches_the_disk(void **state)
{
	struct fixture *fixture = *state;
	struct librsvd_conn *conn = attach_connect(fixture, NULL);
	struct librsvd_disk *disk = NULL;

	assert_ok(librsvd_close(fixture->disk));
	assert_ok(attach_open(conn, conn, "disk.vhdx", 0, &disk));

	talloc_free(conn);

	assert_non_null(open_when_free(fixture));
}

static void a_handle_that_may_only_read_cannot_write(void **state)
{
	static const uint8_t write10[10] = { 0x2A, [8] = 1 };
	struct fixture *fixture = *state;
	struct librsvd_conn *conn = attach_connect_as(
		fixture, NULL, attach_env("READER_USERNAME"));
	struct librsvd_guid initiator = librsvd_guid_random();
	struct librsvd_open_params params = {
		.path = "disk.vhdx",
		.initiator_id = &initiator,
		.access_mask = 0x00120089,	/* FILE_GENERIC_READ */
	};
	uint8_t data[512] = { 0xFF };
	struct librsvd_scsi_command command = {
		.cdb = write10,
		.cdb_length = sizeof(write10),
		.data_out = data,
		.data_out_length = sizeof(data),
	};
	struct librsvd_scsi_result result;
	struct librsvd_disk *disk = NULL;

	/* A share that is read only for this user. */
	assert_status(attach_open(fixture, conn, "disk.vhdx", 0, &disk),
		      NT_STATUS_ACCESS_DENIED);
	assert_ok(librsvd_open(fixture, conn, &params, &disk));
	assert_ok(librsvd_read(disk, data, sizeof(data), 0, NULL));

	assert_status(librsvd_write(disk, data, sizeof(data), 0, 0),
		      NT_STATUS_ACCESS_DENIED);
	assert_ok(librsvd_scsi(fixture, disk, &command, &result));
	assert_int_equal(result.sense.scsi_status, 0x02);
	assert_int_equal(result.sense.data[2] & 0x0F, 0x07); /* DATA PROTECT */
	assert_status(librsvd_flush(disk), NT_STATUS_ACCESS_DENIED);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, attached_disk, detached)
	const struct CMUnitTest tests[] = {
		TEST(a_plain_open_reads_an_attached_file),
		TEST(a_plain_open_does_not_write_an_attached_file),
		TEST(a_plain_open_does_not_truncate_an_attached_file),
		TEST(an_attached_file_is_not_deleted),
		TEST(an_attached_file_is_not_renamed),
		TEST(nothing_is_renamed_onto_an_attached_file),
		TEST(a_file_can_be_written_again_after_the_last_close),
		TEST(a_stream_is_not_found_without_the_create_context),
		TEST(other_streams_are_invalid_names_without_a_module_for_them),
		TEST(a_disk_is_not_attached_while_a_plain_handle_may_write),
		TEST(a_file_with_no_disk_in_it_is_corrupt),
		TEST(who_asks_for_a_snapshot_does_not_get_the_disk),
		TEST(a_symlink_out_of_the_share_is_not_followed),
		TEST(a_killed_server_process_leaves_no_open_behind),
		TEST(a_lost_connection_detaches_the_disk),
		TEST(a_handle_that_may_only_read_cannot_write),
	};
#undef TEST

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
