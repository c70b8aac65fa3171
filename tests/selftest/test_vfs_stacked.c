/*
 * vfs_rsvd: with other modules in front of it
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * vfs_catia is one that notes which request it is in, and ends the process
 * when it did not hear of the end of the one before.
 *
 * selftest-options: --share-option='vfs objects = catia rsvd'
 */

#include "attach.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_module_in_front_hears_of_an_error_and_the_client_of_its_status),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
