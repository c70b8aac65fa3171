/*
 * vfs_rsvd: differencing images and their parents in memory, for tests
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <setjmp.h>
#include <cmocka.h>
#include "tests/unit/vhdx_folder.h"

/* Where vhdx_create() puts it */
#define BAT (3 * MIB)

struct vhdx_memory *folder_add(struct folder *folder, const char *name)
{
	struct vhdx_memory *m = vhdx_memory_new(folder);

	folder->files[folder->num].name = name;
	folder->files[folder->num].memory = m;
	folder->num += 1;
	return m;
}

struct vhdx_memory *folder_file(struct folder *folder, const char *name)
{
	size_t i;

	for (i = 0; i < folder->num; i++) {
		if (strcmp(folder->files[i].name, name) == 0) {
			return folder->files[i].memory;
		}
	}
	return NULL;
}

NTSTATUS folder_open(TALLOC_CTX *mem_ctx, const char *path,
		     void *private_data, struct vhdx_storage **storage)
{
	struct vhdx_memory *m = folder_file(private_data, path);

	if (m == NULL) {
		return NT_STATUS_OBJECT_NAME_NOT_FOUND;
	}
	*storage = vhdx_memory_storage(m);
	return NT_STATUS_OK;
}

NTSTATUS try_open(struct folder *folder, const char *path,
		  struct vhdx_shared *shared, uint32_t flags,
		  struct vhdx **image, char **reason)
{
	struct vhdx_parents parents = {
		.path = path,
		.open = folder_open,
		.private_data = folder,
	};

	return vhdx_open_chain(
		folder, vhdx_memory_storage(folder_file(folder, path)), shared,
		flags, &parents, image, reason);
}

struct vhdx *open_image(struct folder *folder, const char *path,
			uint32_t flags)
{
	struct vhdx *image = NULL;
	char *reason = NULL;

	if (!NT_STATUS_IS_OK(try_open(folder, path, NULL, flags, &image,
				      &reason))) {
		fail_msg("%s: %s", path, reason);
	}
	return image;
}

void put(struct vhdx *image, uint64_t offset, uint8_t byte)
{
	uint8_t buf[UNIT];

	memset(buf, byte, sizeof(buf));
	assert_ok(vhdx_write(image, buf, sizeof(buf), offset));
}

void assert_bytes(struct vhdx *image, uint64_t offset, size_t length,
		  uint8_t byte)
{
	uint8_t *buf = talloc_size(image, length);
	size_t i;

	assert_ok(vhdx_read(image, buf, length, offset));
	for (i = 0; i < length; i++) {
		if (buf[i] != byte) {
			fail_msg("%02x, not %02x, at %" PRIu64, buf[i], byte,
				 offset + i);
		}
	}
	TALLOC_FREE(buf);
}

struct folder *folder_new(void **state)
{
	struct folder *folder = talloc_zero(*state, struct folder);
	struct vhdx_create_params params = {
		.virtual_size = DISK_SIZE, .block_size = MIB,
	};
	struct vhdx *image = NULL;
	unsigned i;

	assert_ok(vhdx_create(vhdx_memory_storage(
			folder_add(folder, "parent.vhdx")), &params));
	image = open_image(folder, "parent.vhdx", 0);
	for (i = 0; i < 8; i++) {
		put(image, i * MIB, 'p');
	}
	assert_ok(vhdx_close(&image));
	return folder;
}

struct vhdx_memory *add_child(struct folder *folder, const char *name,
			      const char *parent_name,
			      const char *parent_path, uint32_t block_size)
{
	struct vhdx *parent = open_image(folder, parent_name,
					 VHDX_OPEN_READ_ONLY);
	struct vhdx_create_params params = {
		.block_size = block_size,
		.parent = parent,
		.parent_path = parent_path,
	};
	struct vhdx_memory *m = folder_add(folder, name);

	assert_ok(vhdx_create(vhdx_memory_storage(m), &params));
	assert_ok(vhdx_close(&parent));
	return m;
}

struct folder *folder_with_child(void **state)
{
	struct folder *folder = folder_new(state);

	add_child(folder, "child.vhdx", "parent.vhdx", "parent.vhdx", MIB);
	return folder;
}

void assert_check_finds_nothing(struct vhdx_memory *m)
{
	struct vhdx_check_report *report = NULL;

	assert_ok(vhdx_check(m, vhdx_memory_storage(m), NULL, NULL, &report));
	if (report->num_findings > 0) {
		fail_msg("%s: %s: %s", report->findings[0].structure,
			 report->findings[0].field, report->findings[0].rule);
	}
	TALLOC_FREE(report);
}

void poke(struct vhdx_memory *m, uint64_t offset, uint64_t value,
	  size_t length)
{
	uint8_t buf[8];

	PUSH_LE_U64(buf, 0, value);
	vhdx_memory_write(m, buf, length, offset);
}

/*
 * As Windows would write it: the bitmap at the end of the file, at 4 MiB if
 * there is nothing else, and the block behind it. There are 4096 blocks of
 * 1 MiB to a bitmap of 512 byte sectors.
 */
void make_partial(struct vhdx_memory *m)
{
	uint64_t bitmap = vhdx_memory_size(m);
	uint64_t place = bitmap + MIB;
	uint8_t units[4 * UNIT];

	vhdx_memory_resize(m, place + MIB);
	/* Bits 2048 to 4095 are those of block 1. */
	poke(m, bitmap + 256, 0xFF00FF00, 4);
	memset(units, 'x', sizeof(units));
	memset(units + UNIT, 'c', UNIT);
	memset(units + 3 * UNIT, 'c', UNIT);
	vhdx_memory_write(m, units, sizeof(units), place);
	poke(m, BAT + 1 * 8, place | 7, 8);
	poke(m, BAT + 4096 * 8, bitmap | 6, 8);
}

struct folder *folder_with_full_child(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	struct vhdx *image = NULL;

	make_partial(m);
	image = open_image(folder, "child.vhdx", 0);
	put(image, 3 * MIB + UNIT, 'c');
	put(image, 10 * MIB, 'c');
	assert_ok(vhdx_zero(image, 5 * MIB, MIB));
	assert_ok(vhdx_zero(image, 6 * MIB, UNIT / 2));
	assert_ok(vhdx_close(&image));
	poke(m, BAT + 2 * 8, 3, 8);	/* UNMAPPED */
	poke(m, BAT + 4 * 8, 1, 8);	/* UNDEFINED */
	return folder;
}

void assert_full_child(struct vhdx *image)
{
	static const char units[16][5] = {
		{ 'p' }, { 'p', 'c', 0, 'c' }, { 0 }, { 'p', 'c' },
		{ 0 }, { 0 }, { 'h' }, { 'p' },
		{ 0 }, { 0 }, { 'c' },
	};
	size_t i;
	size_t j;

	for (i = 0; i < ARRAY_SIZE(units); i++) {
		for (j = 0; j < ARRAY_SIZE(units[i]); j++) {
			uint64_t offset = i * MIB + j * UNIT;

			if (units[i][j] != 'h') {
				assert_bytes(image, offset, UNIT,
					     units[i][j]);
				continue;
			}
			/* Half of it */
			assert_bytes(image, offset, UNIT / 2, 0);
			assert_bytes(image, offset + UNIT / 2, UNIT / 2, 'p');
		}
		assert_bytes(image, (i + 1) * MIB - UNIT, UNIT, 0);
	}
}

struct folder *folder_cut(struct folder *folder, unsigned keep,
			  unsigned keep_first, uint32_t *seed)
{
	struct folder *after = talloc_zero(folder, struct folder);
	size_t i;

	for (i = 0; i < folder->num; i++) {
		after->files[i].name = folder->files[i].name;
		after->files[i].memory = vhdx_memory_cut(
			after, folder->files[i].memory,
			(i == 0) ? keep_first : keep, seed);
	}
	after->num = folder->num;
	return after;
}

void folder_watch(struct folder *folder, void (*watch)(void *private_data),
		  void *private_data)
{
	size_t i;

	for (i = 0; i < folder->num; i++) {
		vhdx_memory_watch(folder->files[i].memory, watch,
				  private_data);
	}
}

void assert_check_finds_no_error(struct vhdx_memory *m)
{
	struct vhdx_check_report *report = NULL;
	size_t i;

	assert_ok(vhdx_check(m, vhdx_memory_storage(m), NULL, NULL, &report));
	for (i = 0; i < report->num_findings; i++) {
		if (report->findings[i].is_error) {
			fail_msg("%s: %s: %s", report->findings[i].structure,
				 report->findings[i].field,
				 report->findings[i].rule);
		}
	}
	TALLOC_FREE(report);
}
