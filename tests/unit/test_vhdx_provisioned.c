/*
 * vfs_rsvd: what of an image takes space
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "system/filesys.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "modules/vhdx/vhdx.h"

#define MIB (1024 * 1024)
#define DISK_SIZE (4 * MIB)

struct image {
	char path[PATH_MAX];
	struct vhdx_storage *storage;
	struct vhdx *image;
	struct vhdx_storage_ops ops;
};

static void assert_ok(NTSTATUS status)
{
	assert_int_equal(NT_STATUS_V(status), NT_STATUS_V(NT_STATUS_OK));
}

static int image_setup(void **state)
{
	struct vhdx_create_params create = {
		.virtual_size = DISK_SIZE,
		.block_size = MIB,
	};
	struct image *t = talloc_zero(NULL, struct image);
	const char *tmp = getenv("TMPDIR");
	int fd;

	assert_non_null(t);
	snprintf(t->path, sizeof(t->path), "%s/provisioned.XXXXXX",
		 tmp != NULL ? tmp : "/tmp");
	fd = mkstemp(t->path);
	assert_int_not_equal(fd, -1);
	close(fd);
	assert_int_equal(vhdx_storage_posix_open(t, t->path, O_RDWR,
						 &t->storage), 0);
	assert_ok(vhdx_create(t->storage, &create));
	assert_ok(vhdx_open(t, t->storage, NULL, 0, &t->image, NULL));
	*state = t;
	return 0;
}

static int image_teardown(void **state)
{
	struct image *t = *state;

	assert_ok(vhdx_close(&t->image));
	unlink(t->path);
	talloc_free(t);
	return 0;
}

static void assert_run(struct image *t, uint64_t offset, uint64_t length,
		       bool provisioned)
{
	uint64_t run_length;
	bool is_provisioned;

	assert_ok(vhdx_provisioned(t->image, offset, DISK_SIZE - offset,
				   &run_length, &is_provisioned));
	assert_int_equal(is_provisioned, provisioned);
	assert_int_equal(run_length, length);
}

static void fill(struct image *t, uint64_t offset, size_t length)
{
	uint8_t *data = talloc_size(t, length);

	memset(data, 0x5a, length);
	assert_ok(vhdx_write(t->image, data, length, offset));
	talloc_free(data);
}

static void what_was_never_written_takes_no_space(void **state)
{
	struct image *t = *state;

	assert_run(t, 0, DISK_SIZE, false);
}

static void what_was_written_takes_space(void **state)
{
	struct image *t = *state;

	fill(t, MIB, MIB);
	assert_run(t, MIB, MIB, true);
	assert_run(t, 0, MIB, false);
}

static void what_was_given_back_takes_none(void **state)
{
	struct image *t = *state;

	fill(t, 0, MIB);
	assert_ok(vhdx_zero(t->image, 256 * 1024, 512 * 1024));
	assert_run(t, 0, 256 * 1024, true);
	assert_run(t, 256 * 1024, 512 * 1024, false);
	assert_run(t, 768 * 1024, 256 * 1024, true);
}

static void a_storage_without_holes_has_all_that_is_mapped(void **state)
{
	struct image *t = *state;

	t->ops = *t->storage->ops;
	t->ops.seek = NULL;
	t->storage->ops = &t->ops;
	fill(t, 0, MIB);
	assert_ok(vhdx_zero(t->image, 256 * 1024, 512 * 1024));
	assert_run(t, 0, MIB, true);
}

#define image_test(name) \
	cmocka_unit_test_setup_teardown(name, image_setup, image_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		image_test(what_was_never_written_takes_no_space),
		image_test(what_was_written_takes_space),
		image_test(what_was_given_back_takes_none),
		image_test(a_storage_without_holes_has_all_that_is_mapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
