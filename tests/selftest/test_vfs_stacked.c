/*
 * vfs_rsvd: with other modules in front of it, and what is behind it
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * vfs_catia is one that notes which request it is in, and ends the process
 * when it did not hear of the end of the one before.
 *
 * selftest-options: --share-option='vfs objects = catia rsvd' --share='[io_uring]\npath = %LOCAL_PATH%\nread only = no\nvfs objects = io_uring rsvd' --share='[btrfs]\npath = %LOCAL_PATH%\nread only = no\nvfs objects = btrfs rsvd' --share='[strict]\npath = %LOCAL_PATH%\nread only = no\nvfs objects = rsvd\nstrict allocate = yes'
 */

#include "attach.h"
#include "replace.h"

/* STATUS_SVHDX_ERROR_STORED, MS-RSVD 2.2.3 */
#define ERROR_STORED(key) NT_STATUS(0xC05C0000 | (key))

static void a_module_in_front_hears_of_an_error_and_the_client_of_its_status(
	void **state)
{
	TALLOC_CTX *frame = talloc_new(NULL);
	struct librsvd_conn *conn = attach_connect(frame, NULL);
	struct librsvd_disk *disk = NULL;
	uint8_t data[512] = { 0 };

	attach_image("disk.vhdx", 8 * MIB);
	/* No initiator: each READ and WRITE is stored as an error. */
	assert_ok(attach_open_as(frame, conn, "disk.vhdx", 0, NULL, &disk));

	assert_status(librsvd_read(disk, data, sizeof(data), 0, NULL),
		      ERROR_STORED(1));
	assert_status(librsvd_write(disk, data, sizeof(data), 0, 0),
		      ERROR_STORED(2));
	assert_status(librsvd_write(disk, data, sizeof(data), 0, 0),
		      ERROR_STORED(3));
	assert_status(librsvd_read(disk, data, sizeof(data), 0, NULL),
		      ERROR_STORED(4));

	assert_ok(librsvd_close(disk));
	talloc_free(frame);
}

static void a_module_that_does_the_io_itself_is_not_served_in_front(
	void **state)
{
	static const char *const shares[] = { "io_uring", "btrfs" };
	TALLOC_CTX *frame = talloc_new(NULL);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(shares); i++) {
		struct librsvd_connect_params params = {
			.server = attach_env("SERVER_IP"),
			.port = atoi(attach_env("SERVER_PORT")),
			.share = shares[i],
			.user = attach_env("USERNAME"),
			.password = attach_env("PASSWORD"),
			.config_file =
				strchr(attach_env("CONFIGURATION"), ' ') + 1,
		};
		struct librsvd_conn *conn = NULL;

		assert_status(librsvd_connect(frame, NULL, &params, &conn),
			      NT_STATUS_UNSUCCESSFUL);
	}
	talloc_free(frame);
}

/*
 * The default of the VFS asks the first module for the size then, while a
 * file grows. An image is larger than its disk in the end.
 */
static void a_disk_is_filled_on_a_share_with_strict_allocate(void **state)
{
	TALLOC_CTX *frame = talloc_new(NULL);
	struct librsvd_conn *conn = attach_connect_share(
		frame, NULL, attach_env("USERNAME"), "strict");
	struct librsvd_disk *disk = NULL;
	uint8_t *written = talloc_size(frame, MIB);
	uint8_t *data = talloc_size(frame, MIB);
	int i;

	attach_image("full.vhdx", 8 * MIB);
	assert_ok(attach_open(frame, conn, "full.vhdx", 0, &disk));

	for (i = 0; i < 8; i++) {
		memset(written, 0xA0 + i, MIB);
		assert_ok(librsvd_write(disk, written, MIB, i * MIB, 0));
	}

	for (i = 0; i < 8; i++) {
		memset(written, 0xA0 + i, MIB);
		assert_ok(librsvd_read(disk, data, MIB, i * MIB, NULL));
		assert_memory_equal(data, written, MIB);
	}
	assert_ok(librsvd_close(disk));
	talloc_free(frame);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_module_in_front_hears_of_an_error_and_the_client_of_its_status),
		cmocka_unit_test(a_module_that_does_the_io_itself_is_not_served_in_front),
		cmocka_unit_test(a_disk_is_filled_on_a_share_with_strict_allocate),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
