/*
 * vfs_rsvd: differencing images on a share
 *
 * base/parent.vhdx has a 'p' in each byte of its first 2 MiB, guests/child.vhdx
 * is based on it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * selftest-options: --share-option='veto files = /secret.vhdx/secrets/'
 */

#include <sys/wait.h>
#include "attach.h"

#define DISK_SIZE (8 * MIB)
#define PARENT "base/parent.vhdx"
#define CHILD "guests/child.vhdx"
#define UNIT 4096

struct fixture {
	char *parent;
	char *child;
	struct librsvd_conn *conn;
	struct librsvd_disk *disk;
};

static struct vhdx_storage *storage_open(TALLOC_CTX *mem_ctx, const char *path,
					 int flags)
{
	struct vhdx_storage *storage = NULL;

	assert_int_equal(vhdx_storage_posix_open(mem_ctx, path, flags,
						 &storage), 0);
	return storage;
}

static void parent_make(const char *path)
{
	struct vhdx_storage *storage = storage_open(
		NULL, path, O_RDWR | O_CREAT | O_EXCL);
	struct vhdx_create_params params = {
		.virtual_size = DISK_SIZE, .block_size = MIB,
	};
	uint8_t *buf = talloc_size(storage, 2 * MIB);
	struct vhdx *image = NULL;

	memset(buf, 'p', 2 * MIB);
	assert_ok(vhdx_create(storage, &params));
	assert_ok(vhdx_open(storage, storage, NULL, 0, &image, NULL));
	assert_ok(vhdx_write(image, buf, 2 * MIB, 0));
	assert_ok(vhdx_close(&image));
	talloc_free(storage);
	assert_int_equal(chmod(path, 0666), 0);
}

static void child_make(const char *path, const char *parent,
		       const char *relative_path)
{
	struct vhdx_storage *below = storage_open(NULL, parent, O_RDONLY);
	struct vhdx_storage *storage = NULL;
	struct vhdx_create_params params = {
		.block_size = MIB, .parent_path = relative_path,
	};
	struct vhdx *image = NULL;

	unlink(path);
	storage = storage_open(below, path, O_RDWR | O_CREAT | O_EXCL);
	assert_ok(vhdx_open(below, below, NULL, VHDX_OPEN_READ_ONLY, &image,
			    NULL));
	params.parent = image;
	assert_ok(vhdx_create(storage, &params));
	assert_ok(vhdx_close(&image));
	talloc_free(below);
	assert_int_equal(chmod(path, 0666), 0);
}

static int chain(void **state)
{
	struct fixture *fixture = talloc_zero(NULL, struct fixture);

	mkdir(attach_path(fixture, "base"), 0777);
	mkdir(attach_path(fixture, "guests"), 0777);
	fixture->parent = attach_path(fixture, PARENT);
	fixture->child = attach_path(fixture, CHILD);
	unlink(fixture->parent);
	parent_make(fixture->parent);
	child_make(fixture->child, fixture->parent, "../" PARENT);
	fixture->conn = attach_connect(fixture, NULL);
	*state = fixture;
	return 0;
}

static int attached_chain(void **state)
{
	struct fixture *fixture = NULL;

	chain(state);
	fixture = *state;
	assert_ok(attach_open(fixture, fixture->conn, CHILD, 0,
			      &fixture->disk));
	return 0;
}

static int done(void **state)
{
	talloc_free(*state);
	return 0;
}

static void assert_bytes(struct librsvd_disk *disk, uint64_t offset,
			 uint8_t byte)
{
	uint8_t buf[UNIT];
	size_t i;

	assert_ok(librsvd_read(disk, buf, sizeof(buf), offset, NULL));
	for (i = 0; i < sizeof(buf); i++) {
		assert_int_equal(buf[i], byte);
	}
}

static void put(struct librsvd_disk *disk, uint64_t offset, uint8_t byte)
{
	uint8_t buf[UNIT];

	memset(buf, byte, sizeof(buf));
	assert_ok(librsvd_write(disk, buf, sizeof(buf), offset, 0));
}

static bool says(struct fixture *fixture, const char *command,
		 const char *status)
{
	char *line = talloc_asprintf(
		fixture,
		"smbclient %s -p %s -U '%s%%%s' '//%s/%s' -c '%s' 2>&1 "
		"| grep -q %s",
		attach_env("CONFIGURATION"), attach_env("SERVER_PORT"),
		attach_env("USERNAME"), attach_env("PASSWORD"),
		attach_env("SERVER_IP"), attach_env("SHARE"), command,
		status);
	int ret = system(line);

	return WIFEXITED(ret) && WEXITSTATUS(ret) == 0;
}

static void an_attached_child_is_read_and_written(void **state)
{
	struct fixture *fixture = *state;
	struct librsvd_disk *other = NULL;

	assert_bytes(fixture->disk, 0, 'p');
	assert_bytes(fixture->disk, 2 * MIB, 0);
	put(fixture->disk, UNIT, 'c');
	put(fixture->disk, 3 * MIB, 'c');
	assert_bytes(fixture->disk, 0, 'p');
	assert_bytes(fixture->disk, UNIT, 'c');
	assert_bytes(fixture->disk, 2 * UNIT, 'p');
	assert_bytes(fixture->disk, MIB, 'p');
	assert_bytes(fixture->disk, 3 * MIB, 'c');
	assert_ok(librsvd_flush(fixture->disk));

	/* Another initiator, in a process of its own */
	assert_ok(attach_open(fixture, attach_connect(fixture, NULL), CHILD,
			      0, &other));
	assert_bytes(other, 0, 'p');
	assert_bytes(other, UNIT, 'c');
	put(other, MIB + UNIT, 'd');
	assert_bytes(fixture->disk, MIB + UNIT, 'd');
	assert_bytes(fixture->disk, MIB, 'p');
}

static void what_was_written_to_a_child_is_there_after_the_last_close(
	void **state)
{
	struct fixture *fixture = *state;

	put(fixture->disk, UNIT, 'c');
	assert_ok(librsvd_close(fixture->disk));
	assert_ok(attach_open(fixture, fixture->conn, CHILD, 0,
			      &fixture->disk));
	assert_bytes(fixture->disk, 0, 'p');
	assert_bytes(fixture->disk, UNIT, 'c');
}

static void a_parent_is_not_written_while_a_child_is_attached(void **state)
{
	struct fixture *fixture = *state;
	struct librsvd_disk *disk = NULL;

	assert_true(says(fixture, "put /etc/passwd base\\parent.vhdx",
			 "NT_STATUS_SHARING_VIOLATION"));
	assert_true(says(fixture, "del base\\parent.vhdx",
			 "NT_STATUS_SHARING_VIOLATION"));
	assert_status(attach_open(fixture, attach_connect(fixture, NULL),
				  PARENT, 0, &disk),
		      NT_STATUS_SHARING_VIOLATION);
	assert_bytes(fixture->disk, 0, 'p');

	assert_ok(librsvd_close(fixture->disk));
	assert_ok(attach_open(fixture, attach_connect(fixture, NULL), PARENT,
			      0, &disk));
}

static void a_child_is_not_attached_while_its_parent_may_be_written(
	void **state)
{
	struct fixture *fixture = *state;
	struct librsvd_disk *disk = NULL;

	assert_ok(attach_open(fixture, attach_connect(fixture, NULL), PARENT,
			      0, &disk));
	assert_status(attach_open(fixture, fixture->conn, CHILD, 0,
				  &fixture->disk),
		      NT_STATUS_SHARING_VIOLATION);
	assert_ok(librsvd_close(disk));
	assert_ok(attach_open(fixture, fixture->conn, CHILD, 0,
			      &fixture->disk));
}

static void children_of_one_parent_are_attached_together(void **state)
{
	struct fixture *fixture = *state;
	struct librsvd_disk *disk = NULL;

	child_make(attach_path(fixture, "guests/twin.vhdx"), fixture->parent,
		   "../" PARENT);
	assert_ok(attach_open(fixture, attach_connect(fixture, NULL),
			      "guests/twin.vhdx", 0, &disk));
	put(disk, 0, 't');
	assert_bytes(fixture->disk, 0, 'p');
	assert_bytes(disk, 0, 't');
}

static void a_connection_that_is_cut_leaves_the_parent_free(void **state)
{
	struct fixture *fixture = *state;
	struct librsvd_disk *disk = NULL;
	NTSTATUS status;
	unsigned i;

	talloc_free(fixture->conn);
	fixture->conn = NULL;
	/* smbd notices by itself. */
	for (i = 0; i < 1000; i++) {
		status = attach_open(fixture, attach_connect(fixture, NULL),
				     PARENT, 0, &disk);
		if (NT_STATUS_IS_OK(status)) {
			break;
		}
	}
	assert_ok(status);
}

static void assert_not_attached(struct fixture *fixture, NTSTATUS wanted)
{
	struct librsvd_disk *disk = NULL;

	assert_status(attach_open(fixture, fixture->conn, CHILD, 0, &disk),
		      wanted);
}

static void a_parent_outside_of_the_share_is_refused(void **state)
{
	struct fixture *fixture = *state;
	char *outside = attach_path(fixture, "../outside.vhdx");

	unlink(outside);
	assert_int_equal(rename(fixture->parent, outside), 0);
	child_make(fixture->child, outside, "../../outside.vhdx");
	assert_not_attached(fixture, NT_STATUS_OBJECT_PATH_INVALID);

	/* By a symbolic link, of the file and of a directory */
	child_make(fixture->child, outside, "../" PARENT);
	assert_int_equal(symlink(outside, fixture->parent), 0);
	assert_int_equal(access(fixture->parent, R_OK), 0);
	assert_not_attached(fixture, NT_STATUS_OBJECT_NAME_NOT_FOUND);
	unlink(fixture->parent);
	unlink(attach_path(fixture, "base/away"));
	assert_int_equal(symlink("../..", attach_path(fixture, "base/away")),
			 0);
	child_make(fixture->child, outside, "../base/away/outside.vhdx");
	assert_int_equal(access(attach_path(fixture, "base/away/outside.vhdx"),
				R_OK), 0);
	assert_not_attached(fixture, NT_STATUS_OBJECT_PATH_NOT_FOUND);
	unlink(attach_path(fixture, "base/away"));
	unlink(outside);
}

/* What a client cannot open, an image of his making cannot either. */
static void a_parent_with_a_vetoed_name_is_refused(void **state)
{
	struct fixture *fixture = *state;
	char *file = attach_path(fixture, "base/secret.vhdx");
	char *directory = attach_path(fixture, "base/secrets");
	char *inside = attach_path(fixture, "base/secrets/parent.vhdx");

	unlink(file);
	assert_int_equal(rename(fixture->parent, file), 0);
	child_make(fixture->child, file, "../base/secret.vhdx");
	assert_not_attached(fixture, NT_STATUS_OBJECT_NAME_NOT_FOUND);

	mkdir(directory, 0777);
	assert_int_equal(rename(file, inside), 0);
	child_make(fixture->child, inside, "../base/secrets/parent.vhdx");
	assert_not_attached(fixture, NT_STATUS_OBJECT_PATH_NOT_FOUND);
	unlink(inside);
	rmdir(directory);
}

static void a_parent_is_found_in_upper_and_lower_case(void **state)
{
	struct fixture *fixture = *state;
	struct librsvd_disk *disk = NULL;

	/* As a Windows machine may write it */
	child_make(fixture->child, fixture->parent, "../Base/PARENT.vhdx");
	assert_ok(attach_open(fixture, fixture->conn, CHILD, 0, &disk));
	assert_bytes(disk, 0, 'p');
}

static void a_parent_behind_a_link_inside_of_the_share_is_found(void **state)
{
	struct fixture *fixture = *state;
	struct librsvd_disk *disk = NULL;
	char *directory = attach_path(fixture, "link");
	char *file = attach_path(fixture, "base/link.vhdx");

	unlink(directory);
	unlink(file);
	assert_int_equal(symlink("base", directory), 0);
	assert_int_equal(symlink("parent.vhdx", file), 0);
	child_make(fixture->child, fixture->parent, "../link/link.vhdx");
	assert_ok(attach_open(fixture, fixture->conn, CHILD, 0, &disk));
	assert_bytes(disk, 0, 'p');
	unlink(directory);
	unlink(file);
}

static void a_parent_that_the_user_may_not_read_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct librsvd_conn *conn = attach_connect_as(
		fixture, NULL, attach_env("OTHER_USERNAME"));
	struct librsvd_disk *disk = NULL;

	assert_int_equal(chmod(fixture->parent, 0600), 0);
	assert_status(attach_open(fixture, conn, CHILD, 0, &disk),
		      NT_STATUS_ACCESS_DENIED);
	assert_int_equal(chmod(fixture->parent, 0444), 0);
	assert_ok(attach_open(fixture, conn, CHILD, 0, &disk));
	assert_bytes(disk, 0, 'p');
	put(disk, 0, 'c');
	assert_bytes(disk, 0, 'c');
	assert_bytes(disk, UNIT, 'p');
}

static void a_parent_that_was_written_to_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct librsvd_disk *disk = NULL;

	assert_ok(attach_open(fixture, fixture->conn, PARENT, 0, &disk));
	put(disk, 0, 'q');
	assert_ok(librsvd_close(disk));
	assert_not_attached(fixture, NT_STATUS_FILE_INVALID);
}

static void a_child_without_its_parent_is_refused(void **state)
{
	struct fixture *fixture = *state;

	unlink(fixture->parent);
	assert_not_attached(fixture, NT_STATUS_OBJECT_NAME_NOT_FOUND);
	assert_int_equal(mkdir(fixture->parent, 0777), 0);
	assert_not_attached(fixture, NT_STATUS_OBJECT_TYPE_MISMATCH);
	assert_int_equal(rmdir(fixture->parent), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, attached_chain, done)
#define TEST_DETACHED(f) cmocka_unit_test_setup_teardown(f, chain, done)
	const struct CMUnitTest tests[] = {
		TEST(an_attached_child_is_read_and_written),
		TEST(what_was_written_to_a_child_is_there_after_the_last_close),
		TEST(a_parent_is_not_written_while_a_child_is_attached),
		TEST_DETACHED(
			a_child_is_not_attached_while_its_parent_may_be_written),
		TEST(children_of_one_parent_are_attached_together),
		TEST(a_connection_that_is_cut_leaves_the_parent_free),
		TEST_DETACHED(a_parent_outside_of_the_share_is_refused),
		TEST_DETACHED(a_parent_with_a_vetoed_name_is_refused),
		TEST_DETACHED(a_parent_is_found_in_upper_and_lower_case),
		TEST_DETACHED(
			a_parent_behind_a_link_inside_of_the_share_is_found),
		TEST_DETACHED(a_parent_that_the_user_may_not_read_is_refused),
		TEST_DETACHED(a_parent_that_was_written_to_is_refused),
		TEST_DETACHED(a_child_without_its_parent_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
