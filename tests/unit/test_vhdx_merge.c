/*
 * vfs_rsvd: a child goes into its parent
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <setjmp.h>
#include <cmocka.h>
#include "lib/util/debug.h"
#include "librpc/ndr/libndr.h"
#include "tests/unit/vhdx_folder.h"

/* Where vhdx_create() puts things */
#define METADATA (2 * MIB)
#define ITEMS (METADATA + 64 * KIB)
#define LOCATOR (ITEMS + 4 * KIB)
#define BAT (3 * MIB)
#define BLOCKS (4 * MIB)

static NTSTATUS try_merge(struct folder *folder, const char *name,
			  uint32_t flags, char **reason)
{
	struct vhdx_memory *m = folder_file(folder, name);
	struct vhdx_parents parents = {
		.path = name, .open = folder_open, .private_data = folder,
	};
	struct vhdx_merge_report report;

	return vhdx_merge(folder, vhdx_memory_storage(m), &parents, flags,
			  NULL, NULL, &report, reason);
}

static void merge(struct folder *folder, const char *name)
{
	char *reason = NULL;
	NTSTATUS status = try_merge(folder, name, VHDX_MERGE_EMPTY, &reason);

	if (!NT_STATUS_IS_OK(status)) {
		fail_msg("%s: %s", nt_errstr(status), reason);
	}
}

static void assert_reads_full(struct folder *folder, const char *name)
{
	struct vhdx *image = open_image(folder, name, VHDX_OPEN_READ_ONLY);

	assert_full_child(image);
	assert_ok(vhdx_close(&image));
}

/* Nothing in the BAT, and nothing behind it */
static void assert_is_empty(struct vhdx_memory *m)
{
	static const uint8_t zeros[8];
	uint8_t entry[8];
	uint64_t i;

	for (i = 0; i <= 4096; i++) {
		vhdx_memory_read(m, entry, sizeof(entry), BAT + i * 8);
		assert_memory_equal(entry, zeros, sizeof(entry));
	}
	assert_int_equal(vhdx_memory_size(m), BLOCKS);
	assert_check_finds_nothing(m);
}

/* MS-VHDX 2.2.2: DataWriteGuid */
static void data_guid(struct vhdx_memory *m, unsigned copy, uint8_t guid[16])
{
	vhdx_memory_read(m, guid, 16, (1 + copy) * 64 * KIB + 32);
}

static void merged_parent_reads_as_its_child_did(void **state)
{
	struct folder *folder = folder_with_full_child(state);

	assert_reads_full(folder, "child.vhdx");
	merge(folder, "child.vhdx");
	assert_reads_full(folder, "parent.vhdx");
	assert_check_finds_nothing(folder_file(folder, "parent.vhdx"));
}

static void merged_child_is_empty_and_reads_the_same(void **state)
{
	struct folder *folder = folder_with_full_child(state);

	merge(folder, "child.vhdx");
	assert_reads_full(folder, "child.vhdx");
	assert_is_empty(folder_file(folder, "child.vhdx"));
}

static void child_that_is_to_go_keeps_all_it_has(void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	uint64_t size = vhdx_memory_size(m);
	uint8_t before[11 * 8];
	uint8_t after[11 * 8];

	vhdx_memory_read(m, before, sizeof(before), BAT);
	assert_ok(try_merge(folder, "child.vhdx", 0, NULL));
	vhdx_memory_read(m, after, sizeof(after), BAT);
	assert_memory_equal(before, after, sizeof(before));
	assert_int_equal(vhdx_memory_size(m), size);
	assert_reads_full(folder, "parent.vhdx");
	assert_reads_full(folder, "child.vhdx");
}

static void zeros_take_no_space_in_the_parent(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx_memory *m = folder_file(folder, "parent.vhdx");
	struct vhdx *image = open_image(folder, "child.vhdx", 0);
	uint64_t size = vhdx_memory_size(m);

	put(image, 12 * MIB, 0);
	assert_ok(vhdx_zero(image, 14 * MIB, MIB));
	assert_ok(vhdx_close(&image));
	merge(folder, "child.vhdx");
	assert_int_equal(vhdx_memory_size(m), size);
	assert_check_finds_nothing(m);
}

/* What the child accepts, and the DataWriteGuid that its parent gets */
struct first_change {
	struct folder *folder;
	bool seen;
};

static void look_at_links(void *private_data)
{
	struct first_change *first = private_data;
	struct vhdx_findings *findings = NULL;
	struct vhdx_locator *locator = NULL;
	struct folder *after = NULL;
	struct vhdx *image = NULL;
	uint8_t guid[16];
	struct GUID was;
	struct GUID is;
	uint32_t seed = 1;

	if (first->seen) {
		return;
	}
	/* The older header is written first: with both, one has it. */
	data_guid(folder_file(first->folder, "parent.vhdx"), 0, guid);
	is = vhdx_guid_pull(guid);
	data_guid(folder_file(first->folder, "parent.vhdx"), 1, guid);
	was = vhdx_guid_pull(guid);
	if (GUID_equal(&was, &is)) {
		return;
	}
	first->seen = true;

	/* Of the child, only what is stable; the parent as it was before */
	after = folder_cut(first->folder, 0, 0, &seed);
	image = open_image(after, "child.vhdx", VHDX_OPEN_READ_ONLY);
	findings = talloc_zero(after, struct vhdx_findings);
	assert_ok(vhdx_locator_load(image, after, &locator, findings));
	assert_true(GUID_equal(&locator->linkage, &was));
	assert_true(GUID_equal(&locator->linkage2, &is));
	assert_ok(vhdx_close(&image));
	TALLOC_FREE(after);
}

static void child_names_the_new_guid_before_its_parent_has_it(void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct first_change first = { .folder = folder };

	vhdx_memory_watch(folder_file(folder, "parent.vhdx"), look_at_links,
			  &first);
	merge(folder, "child.vhdx");
	assert_true(first.seen);
}

static void parent_of_before_is_refused_after_the_merge(void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct vhdx *image = NULL;
	uint32_t seed = 1;

	/* As it would be in a backup */
	folder->files[folder->num].memory = vhdx_memory_cut(
		folder, folder_file(folder, "parent.vhdx"), 256, &seed);
	merge(folder, "child.vhdx");
	folder->files[0].name = "merged.vhdx";
	folder->files[folder->num].name = "parent.vhdx";
	folder->num += 1;
	assert_status(try_open(folder, "child.vhdx", NULL, 0, &image, NULL),
		      NT_STATUS_FILE_INVALID);
}

static void other_children_of_the_parent_are_refused_then(void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct vhdx *image = NULL;

	add_child(folder, "other.vhdx", "parent.vhdx", "parent.vhdx", MIB);
	merge(folder, "child.vhdx");
	assert_status(try_open(folder, "other.vhdx", NULL, 0, &image, NULL),
		      NT_STATUS_FILE_INVALID);
}

static void children_of_the_child_stay_its_children(void **state)
{
	struct folder *folder = folder_with_full_child(state);

	add_child(folder, "grandchild.vhdx", "child.vhdx", "child.vhdx", MIB);
	merge(folder, "child.vhdx");
	assert_reads_full(folder, "grandchild.vhdx");
	/* And go the same way */
	merge(folder, "grandchild.vhdx");
	assert_reads_full(folder, "child.vhdx");
}

static void child_goes_on_being_written_after_the_merge(void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct vhdx *image = NULL;

	merge(folder, "child.vhdx");
	image = open_image(folder, "child.vhdx", 0);
	put(image, 3 * MIB, 'n');
	assert_bytes(image, 3 * MIB, UNIT, 'n');
	assert_bytes(image, 3 * MIB + UNIT, UNIT, 'c');
	assert_bytes(image, MIB, UNIT, 'p');
	assert_ok(vhdx_close(&image));
	merge(folder, "child.vhdx");
	image = open_image(folder, "parent.vhdx", VHDX_OPEN_READ_ONLY);
	assert_bytes(image, 3 * MIB, UNIT, 'n');
	assert_bytes(image, 3 * MIB + UNIT, UNIT, 'c');
	assert_ok(vhdx_close(&image));
}

static void empty_child_changes_nothing_in_its_parent(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx_memory *m = folder_file(folder, "parent.vhdx");
	uint64_t changes = vhdx_memory_num_changes(m);

	add_child(folder, "other.vhdx", "parent.vhdx", "parent.vhdx", MIB);
	merge(folder, "child.vhdx");
	assert_int_equal(vhdx_memory_num_changes(m), changes);
	merge(folder, "other.vhdx");
}

static void blocks_of_any_size_go_into_those_of_any_other(void **state)
{
	static const uint32_t sizes[] = { MIB, 2 * MIB, 8 * MIB };
	size_t i;
	size_t j;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (j = 0; j < ARRAY_SIZE(sizes); j++) {
			struct folder *folder = folder_with_full_child(state);
			struct vhdx *image = NULL;

			/* parent <- child <- middle <- top */
			add_child(folder, "middle.vhdx", "child.vhdx",
				  "child.vhdx", sizes[i]);
			image = open_image(folder, "middle.vhdx", 0);
			put(image, 0, 'm');
			assert_ok(vhdx_zero(image, 8 * MIB, 8 * MIB));
			assert_ok(vhdx_close(&image));
			add_child(folder, "top.vhdx", "middle.vhdx",
				  "middle.vhdx", sizes[j]);
			image = open_image(folder, "top.vhdx", 0);
			put(image, 0, 'p');
			put(image, 10 * MIB, 'c');
			assert_ok(vhdx_zero(image, 4 * MIB, 2 * MIB));
			assert_ok(vhdx_close(&image));

			merge(folder, "top.vhdx");
			assert_reads_full(folder, "top.vhdx");
			assert_reads_full(folder, "middle.vhdx");
			assert_check_finds_no_error(
				folder_file(folder, "middle.vhdx"));
			TALLOC_FREE(folder);
		}
	}
}

static void fixed_parent_stays_a_fixed_one(void **state)
{
	struct folder *folder = talloc_zero(*state, struct folder);
	struct vhdx_memory *m = folder_add(folder, "parent.vhdx");
	struct vhdx_create_params params = {
		.virtual_size = 4 * MIB + 512, .block_size = MIB,
		.fixed = true,
	};
	struct vhdx *image = NULL;
	uint64_t size;

	assert_ok(vhdx_create(vhdx_memory_storage(m), &params));
	image = open_image(folder, "parent.vhdx", 0);
	put(image, MIB, 'p');
	assert_ok(vhdx_close(&image));
	size = vhdx_memory_size(m);
	add_child(folder, "child.vhdx", "parent.vhdx", "parent.vhdx",
		  2 * MIB);
	image = open_image(folder, "child.vhdx", 0);
	put(image, 3 * MIB, 'c');
	assert_ok(vhdx_zero(image, 0, 2 * MIB));
	assert_ok(vhdx_zero(image, 4 * MIB, 512));
	assert_ok(vhdx_close(&image));

	merge(folder, "child.vhdx");
	assert_int_equal(vhdx_memory_size(m), size);
	assert_check_finds_nothing(m);
	image = open_image(folder, "parent.vhdx", VHDX_OPEN_READ_ONLY);
	assert_true(vhdx_geometry(image)->leave_blocks_allocated);
	assert_bytes(image, 0, 3 * MIB, 0);
	assert_bytes(image, 3 * MIB, UNIT, 'c');
	assert_bytes(image, 4 * MIB, 512, 0);
	assert_ok(vhdx_close(&image));
}

static void sectors_of_4_kib_are_merged_by_their_bits(void **state)
{
	struct folder *folder = talloc_zero(*state, struct folder);
	struct vhdx_create_params params = {
		.virtual_size = 4 * MIB, .block_size = MIB,
		.logical_sector_size = 4096,
	};
	struct vhdx_memory *m = NULL;
	struct vhdx *image = NULL;
	uint8_t units[3 * UNIT];

	assert_ok(vhdx_create(vhdx_memory_storage(
			folder_add(folder, "parent.vhdx")), &params));
	image = open_image(folder, "parent.vhdx", 0);
	put(image, MIB, 'p');
	put(image, MIB + UNIT, 'p');
	put(image, MIB + 2 * UNIT, 'p');
	assert_ok(vhdx_close(&image));
	m = add_child(folder, "child.vhdx", "parent.vhdx", "parent.vhdx",
		      MIB);

	/*
	 * Block 1 with its second sector: 256 bits a block, and 32768 blocks
	 * to a bitmap.
	 */
	vhdx_memory_resize(m, 6 * MIB);
	poke(m, 4 * MIB + 32, 2, 1);
	memset(units, 'x', sizeof(units));
	memset(units + UNIT, 'c', UNIT);
	vhdx_memory_write(m, units, sizeof(units), 5 * MIB);
	poke(m, BAT + 1 * 8, 5 * MIB | 7, 8);
	poke(m, BAT + 32768 * 8, 4 * MIB | 6, 8);

	merge(folder, "child.vhdx");
	image = open_image(folder, "parent.vhdx", VHDX_OPEN_READ_ONLY);
	assert_bytes(image, MIB, UNIT, 'p');
	assert_bytes(image, MIB + UNIT, UNIT, 'c');
	assert_bytes(image, MIB + 2 * UNIT, UNIT, 'p');
	assert_ok(vhdx_close(&image));
}

/* MS-VHDX 2.6.2.2: the second item */
static void set_disk_size(struct vhdx_memory *m, uint64_t size)
{
	poke(m, ITEMS + 8, size, 8);
}

static void larger_child_makes_its_parent_larger(void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct vhdx *image = NULL;

	set_disk_size(folder_file(folder, "child.vhdx"), 20 * MIB);
	image = open_image(folder, "child.vhdx", 0);
	put(image, 18 * MIB, 'l');
	assert_ok(vhdx_close(&image));
	merge(folder, "child.vhdx");

	assert_reads_full(folder, "parent.vhdx");
	image = open_image(folder, "parent.vhdx", VHDX_OPEN_READ_ONLY);
	assert_int_equal(vhdx_geometry(image)->virtual_size, 20 * MIB);
	assert_bytes(image, 16 * MIB, 2 * MIB, 0);
	assert_bytes(image, 18 * MIB, UNIT, 'l');
	assert_ok(vhdx_close(&image));
}

static void size_that_only_one_of_them_can_have_is_refused(void **state)
{
	static const struct {
		const char *name;
		uint64_t size;
		const char *reason;
	} sizes[] = {
		{ "child.vhdx", 12 * MIB, "the disk is smaller than that of "
		  "its parent" },
		{ "grandchild.vhdx", 20 * MIB, "the disk is larger than that "
		  "of its parent, which has a parent itself" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct folder *folder = folder_with_full_child(state);
		uint64_t changes[3];
		char *reason = NULL;
		size_t j;

		add_child(folder, "grandchild.vhdx", "child.vhdx",
			  "child.vhdx", MIB);
		set_disk_size(folder_file(folder, sizes[i].name),
			      sizes[i].size);
		for (j = 0; j < 3; j++) {
			changes[j] = vhdx_memory_num_changes(
				folder->files[j].memory);
		}
		assert_status(try_merge(folder, sizes[i].name,
					VHDX_MERGE_EMPTY, &reason),
			      NT_STATUS_NOT_SUPPORTED);
		assert_string_equal(reason, sizes[i].reason);
		for (j = 0; j < 3; j++) {
			assert_int_equal(vhdx_memory_num_changes(
				folder->files[j].memory), changes[j]);
		}
		TALLOC_FREE(folder);
	}
}

static void image_without_a_parent_is_refused(void **state)
{
	struct folder *folder = folder_new(state);
	char *reason = NULL;

	assert_status(try_merge(folder, "parent.vhdx", 0, &reason),
		      NT_STATUS_INVALID_PARAMETER);
	assert_string_equal(reason, "it has no parent");
}

static void parent_that_was_written_to_is_not_merged_into(void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct vhdx_memory *m = folder_file(folder, "parent.vhdx");
	struct vhdx *image = open_image(folder, "parent.vhdx", 0);
	uint64_t changes;
	char *reason = NULL;

	put(image, 0, 'q');
	assert_ok(vhdx_close(&image));
	changes = vhdx_memory_num_changes(m);
	assert_status(try_merge(folder, "child.vhdx", 0, &reason),
		      NT_STATUS_FILE_INVALID);
	assert_non_null(reason);
	assert_int_equal(vhdx_memory_num_changes(m), changes);
}

/* "key" in UTF-16, and so on, in the item as it is now */
static void utf16_push(uint8_t *buf, size_t *end, const char *s)
{
	for (; *s != '\0'; s++) {
		PUSH_LE_U16(buf, *end, *s);
		*end += 2;
	}
}

static void what_else_the_locator_says_stays(void **state)
{
	static const char *const more[2][2] = {
		{ "absolute_win32_path", "\\\\?\\d:\\disks\\parent.vhdx" },
		{ "parent_linkage9", "of somebody else" },
	};
	struct folder *folder = folder_with_full_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	struct vhdx *image = NULL;
	uint8_t buf[1024] = { 0 };
	uint8_t now[1024] = { 0 };
	uint8_t id[16];
	size_t end;
	size_t found = 0;
	size_t i;
	size_t j;

	/* Header and two entries; two more go in between, MS-VHDX 2.6.2.6 */
	vhdx_memory_read(m, buf, 20, LOCATOR);
	vhdx_memory_read(m, buf + 44, 24, LOCATOR + 20);
	vhdx_memory_read(m, buf + 68, 400, LOCATOR + 44);
	for (i = 0; i < 2; i++) {
		PUSH_LE_U32(buf, 44 + i * 12,
			    PULL_LE_U32(buf, 44 + i * 12) + 24);
		PUSH_LE_U32(buf, 48 + i * 12,
			    PULL_LE_U32(buf, 48 + i * 12) + 24);
	}
	PUSH_LE_U16(buf, 18, 4);
	end = 600;
	for (i = 0; i < 2; i++) {
		for (j = 0; j < 2; j++) {
			PUSH_LE_U32(buf, 20 + i * 12 + j * 4, end);
			utf16_push(buf, &end, more[i][j]);
			PUSH_LE_U16(buf, 28 + i * 12 + j * 2,
				    2 * strlen(more[i][j]));
		}
	}
	vhdx_memory_write(m, buf, end, LOCATOR);
	poke(m, METADATA + 32 + 5 * 32 + 20, end, 4);

	merge(folder, "child.vhdx");
	assert_reads_full(folder, "child.vhdx");
	image = open_image(folder, "child.vhdx", VHDX_OPEN_READ_ONLY);
	assert_true(image->locator.length < sizeof(now));
	vhdx_memory_read(m, now, image->locator.length,
			 image->locator.offset);
	assert_ok(vhdx_close(&image));
	/* The type, and four entries again: there is no parent_linkage2. */
	assert_memory_equal(now, buf, 20);
	for (i = 0; i < 4; i++) {
		const uint8_t *entry = now + 20 + i * 12;

		for (j = 0; j < 2; j++) {
			size_t at = 20 + j * 12;

			if (PULL_LE_U16(entry, 8) != PULL_LE_U16(buf, at + 8) ||
			    memcmp(now + PULL_LE_U32(entry, 0),
				   buf + PULL_LE_U32(buf, at),
				   PULL_LE_U16(buf, at + 8)) != 0) {
				continue;
			}
			assert_int_equal(PULL_LE_U16(entry, 10),
					 PULL_LE_U16(buf, at + 10));
			assert_memory_equal(now + PULL_LE_U32(entry, 4),
					    buf + PULL_LE_U32(buf, at + 4),
					    PULL_LE_U16(buf, at + 10));
			found += 1;
		}
	}
	assert_int_equal(found, 2);
	/* Still the sixth item, and there are no more. */
	vhdx_memory_read(m, id, sizeof(id), METADATA + 32 + 5 * 32);
	assert_int_equal(PULL_LE_U32(id, 0), 0xA8D35F2D);
	vhdx_memory_read(m, id, 2, METADATA + 10);
	assert_int_equal(PULL_LE_U16(id, 0), 6);
}

static bool stop_after(uint64_t done, uint64_t total, void *private_data)
{
	uint64_t *left = private_data;

	assert_true(done <= total);
	if (*left == 0) {
		return false;
	}
	*left -= 1;
	return true;
}

static void merge_can_be_stopped_at_any_time(void **state)
{
	uint64_t calls;
	bool stopped = true;

	for (calls = 0; stopped; calls++) {
		struct folder *folder = folder_with_full_child(state);
		struct vhdx_memory *m = folder_file(folder, "child.vhdx");
		struct vhdx_parents parents = {
			.path = "child.vhdx", .open = folder_open,
			.private_data = folder,
		};
		struct vhdx_merge_report report;
		uint64_t left = calls;

		assert_ok(vhdx_merge(folder, vhdx_memory_storage(m), &parents,
				     VHDX_MERGE_EMPTY, stop_after, &left,
				     &report, NULL));
		stopped = report.stopped;
		assert_string_equal(report.parent_path, "parent.vhdx");
		assert_reads_full(folder, "child.vhdx");
		assert_check_finds_no_error(m);
		merge(folder, "child.vhdx");
		assert_reads_full(folder, "parent.vhdx");
		assert_is_empty(m);
		TALLOC_FREE(folder);
	}
	assert_true(calls > 10);
}

static void error_at_any_point_leaves_a_child_that_reads_the_same(
	void **state)
{
	size_t file;

	for (file = 0; file < 2; file++) {
		NTSTATUS status = NT_STATUS_DISK_FULL;
		uint64_t after;

		for (after = 0; !NT_STATUS_IS_OK(status); after++) {
			struct folder *folder = folder_with_full_child(state);
			struct vhdx_memory *m = folder->files[file].memory;

			vhdx_memory_fail(m, ENOSPC, after);
			status = try_merge(folder, "child.vhdx",
					   VHDX_MERGE_EMPTY, NULL);
			vhdx_memory_fail(m, 0, 0);
			assert_reads_full(folder, "child.vhdx");
			merge(folder, "child.vhdx");
			assert_reads_full(folder, "parent.vhdx");
			assert_reads_full(folder, "child.vhdx");
			TALLOC_FREE(folder);
		}
		assert_true(after > 10);
	}
}

/* A power cut after each change, with any part of what is not flushed lost */

struct cut_state {
	struct folder *folder;
	uint64_t num_cuts;
};

static void cut_here(void *private_data)
{
	static const unsigned keeps[][2] = {
		{ 0, 0 }, { 256, 256 }, { 0, 256 }, { 256, 0 }, { 128, 128 },
		{ 40, 220 }, { 220, 40 },
	};
	struct cut_state *cut = private_data;
	uint32_t seed = 2654435761U * (cut->num_cuts + 1);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(keeps); i++) {
		struct folder *after = folder_cut(cut->folder, keeps[i][0],
						  keeps[i][1], &seed);
		struct vhdx *image = NULL;

		assert_check_finds_no_error(folder_file(after, "parent.vhdx"));
		assert_check_finds_no_error(folder_file(after, "child.vhdx"));
		assert_reads_full(after, "child.vhdx");
		/* To be written to, so that logs are replayed in the file */
		image = open_image(after, "child.vhdx", 0);
		assert_full_child(image);
		assert_ok(vhdx_close(&image));
		if ((cut->num_cuts + i) % 3 == 0) {
			merge(after, "child.vhdx");
			assert_reads_full(after, "parent.vhdx");
			assert_reads_full(after, "child.vhdx");
			assert_is_empty(folder_file(after, "child.vhdx"));
		}
		TALLOC_FREE(after);
		cut->num_cuts += 1;
	}
}

static void power_cut_at_any_point_leaves_a_child_that_reads_the_same(
	void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct cut_state cut = { .folder = folder };

	folder_watch(folder, cut_here, &cut);
	merge(folder, "child.vhdx");
	folder_watch(folder, NULL, NULL);
	assert_reads_full(folder, "parent.vhdx");
	assert_true(cut.num_cuts > 300);
}

static void power_cut_while_the_parent_grows_loses_nothing(void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct cut_state cut = { .folder = folder };

	set_disk_size(folder_file(folder, "child.vhdx"), 20 * MIB);
	folder_watch(folder, cut_here, &cut);
	merge(folder, "child.vhdx");
	folder_watch(folder, NULL, NULL);
	assert_true(cut.num_cuts > 300);
}

/* Then its log is not used, which would have all flushed in the end. */
static void power_cut_with_all_blocks_in_the_parent_loses_nothing(
	void **state)
{
	struct folder *folder = folder_with_full_child(state);
	struct cut_state cut = { .folder = folder };
	struct vhdx *image = open_image(folder, "child.vhdx", 0);

	put(image, 3 * MIB + UNIT, 'x');
	assert_ok(vhdx_close(&image));
	merge(folder, "child.vhdx");
	image = open_image(folder, "child.vhdx", 0);
	put(image, 3 * MIB + UNIT, 'c');
	assert_ok(vhdx_close(&image));

	folder_watch(folder, cut_here, &cut);
	merge(folder, "child.vhdx");
	folder_watch(folder, NULL, NULL);
	assert_true(cut.num_cuts > 100);
}

/* Where a child has something to be damaged, and how long that is */
static const struct {
	uint64_t offset;
	uint64_t length;
} damaged_places[] = {
	{ METADATA, 32 + 6 * 32 },
	{ ITEMS, 40 },
	{ LOCATOR, 300 },
	{ BAT, 16 * 8 },
	{ BAT + 4096 * 8, 8 },
	{ 7 * MIB, 512 },	/* the sector bitmap */
};

static void no_damage_to_a_child_damages_its_parent(void **state)
{
	static const uint8_t bytes[] = { 0, 1, 2, 3, 6, 7, 0x7F, 0x80, 0xFF };
	uint32_t seed = 4711;
	unsigned num_merged = 0;
	unsigned i;

	for (i = 0; i < 400; i++) {
		struct folder *folder = folder_with_full_child(state);
		struct vhdx_memory *m = folder_file(folder, "child.vhdx");
		unsigned num = 1 + vhdx_memory_random(&seed) % 4;
		NTSTATUS status;

		for (; num > 0; num--) {
			size_t place = vhdx_memory_random(&seed) %
				       ARRAY_SIZE(damaged_places);
			uint64_t offset = vhdx_memory_random(&seed) %
					  damaged_places[place].length;
			size_t byte = vhdx_memory_random(&seed) %
				      ARRAY_SIZE(bytes);

			poke(m, damaged_places[place].offset + offset,
			     bytes[byte], 1);
		}
		status = try_merge(folder, "child.vhdx", VHDX_MERGE_EMPTY,
				   NULL);
		num_merged += NT_STATUS_IS_OK(status) ? 1 : 0;
		assert_check_finds_no_error(folder_file(folder,
							"parent.vhdx"));
		TALLOC_FREE(folder);
	}
	assert_true(num_merged > 40 && num_merged < 360);
}

static int setup(void **state)
{
	*state = talloc_new(NULL);
	return 0;
}

static int teardown(void **state)
{
	talloc_free(*state);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(merged_parent_reads_as_its_child_did),
		TEST(merged_child_is_empty_and_reads_the_same),
		TEST(child_that_is_to_go_keeps_all_it_has),
		TEST(zeros_take_no_space_in_the_parent),
		TEST(child_names_the_new_guid_before_its_parent_has_it),
		TEST(parent_of_before_is_refused_after_the_merge),
		TEST(other_children_of_the_parent_are_refused_then),
		TEST(children_of_the_child_stay_its_children),
		TEST(child_goes_on_being_written_after_the_merge),
		TEST(empty_child_changes_nothing_in_its_parent),
		TEST(blocks_of_any_size_go_into_those_of_any_other),
		TEST(fixed_parent_stays_a_fixed_one),
		TEST(sectors_of_4_kib_are_merged_by_their_bits),
		TEST(larger_child_makes_its_parent_larger),
		TEST(size_that_only_one_of_them_can_have_is_refused),
		TEST(image_without_a_parent_is_refused),
		TEST(parent_that_was_written_to_is_not_merged_into),
		TEST(what_else_the_locator_says_stays),
		TEST(no_damage_to_a_child_damages_its_parent),
		TEST(merge_can_be_stopped_at_any_time),
		TEST(error_at_any_point_leaves_a_child_that_reads_the_same),
		TEST(power_cut_at_any_point_leaves_a_child_that_reads_the_same),
		TEST(power_cut_while_the_parent_grows_loses_nothing),
		TEST(power_cut_with_all_blocks_in_the_parent_loses_nothing),
	};

	setup_logging("test_vhdx_merge", DEBUG_STDERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
