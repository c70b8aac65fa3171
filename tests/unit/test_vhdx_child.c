/*
 * vfs_rsvd: differencing images
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "lib/dbwrap/dbwrap.h"
#include "lib/dbwrap/dbwrap_rbt.h"
#include "lib/util/tevent_ntstatus.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"
#include "tests/unit/vhdx_folder.h"

/* Where vhdx_create() puts things */
#define METADATA (2 * MIB)
#define LOCATOR (METADATA + 64 * KIB + 4 * KIB)
#define BAT (3 * MIB)

static void new_child_reads_as_its_parent(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx *child = open_image(folder, "child.vhdx",
					VHDX_OPEN_READ_ONLY);
	const struct vhdx_geometry *g = vhdx_geometry(child);

	assert_true(g->has_parent);
	assert_int_equal(g->virtual_size, DISK_SIZE);
	assert_true(GUID_equal(&g->virtual_disk_id,
			       &vhdx_geometry(vhdx_parent(child))
					->virtual_disk_id));
	assert_string_equal(vhdx_parent_path(child), "parent.vhdx");
	assert_bytes(child, 3 * MIB, UNIT, 'p');
	assert_bytes(child, 3 * MIB + UNIT, MIB - UNIT, 0);
	assert_bytes(child, 8 * MIB, 8 * MIB, 0);
	assert_ok(vhdx_close(&child));
	assert_check_finds_nothing(folder_file(folder, "child.vhdx"));
}

static void write_to_child_leaves_parent_as_it_is(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx_memory *parent = folder_file(folder, "parent.vhdx");
	uint64_t changes = vhdx_memory_num_changes(parent);
	struct vhdx *image = open_image(folder, "child.vhdx", 0);

	put(image, 2 * MIB + UNIT, 'c');
	put(image, 9 * MIB, 'c');
	assert_ok(vhdx_close(&image));
	image = open_image(folder, "child.vhdx", VHDX_OPEN_READ_ONLY);
	assert_bytes(image, 2 * MIB, UNIT, 'p');
	assert_bytes(image, 2 * MIB + UNIT, UNIT, 'c');
	assert_bytes(image, 2 * MIB + 2 * UNIT, MIB - 2 * UNIT, 0);
	assert_bytes(image, 3 * MIB, UNIT, 'p');
	assert_bytes(image, 9 * MIB, UNIT, 'c');
	assert_ok(vhdx_close(&image));
	assert_int_equal(vhdx_memory_num_changes(parent), changes);
	assert_check_finds_nothing(folder_file(folder, "child.vhdx"));
}

static void zeroed_range_does_not_show_the_parent(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx *image = open_image(folder, "child.vhdx", 0);
	struct vhdx_extent extent;

	assert_ok(vhdx_zero(image, UNIT / 2, 3 * MIB));
	assert_bytes(image, 0, UNIT / 2, 'p');
	assert_bytes(image, UNIT / 2, 3 * MIB, 0);
	assert_bytes(image, 3 * MIB + UNIT / 2, UNIT / 2, 'p');
	assert_bytes(image, 4 * MIB, UNIT, 'p');
	/* Whole blocks take no space. */
	assert_ok(vhdx_map(image, MIB, MIB, &extent));
	assert_int_equal(extent.kind, VHDX_EXTENT_ZERO);
	put(image, MIB + UNIT, 'c');
	assert_bytes(image, MIB, UNIT, 0);
	assert_ok(vhdx_close(&image));
	assert_check_finds_nothing(folder_file(folder, "child.vhdx"));
}

static void last_block_that_is_short_is_copied(void **state)
{
	struct folder *folder = talloc_zero(*state, struct folder);
	struct vhdx_create_params params = {
		.virtual_size = 5 * MIB + 512, .block_size = MIB,
	};
	struct vhdx *image = NULL;
	uint8_t sector[512];

	assert_ok(vhdx_create(vhdx_memory_storage(
			folder_add(folder, "parent.vhdx")), &params));
	image = open_image(folder, "parent.vhdx", 0);
	memset(sector, 'p', sizeof(sector));
	assert_ok(vhdx_write(image, sector, sizeof(sector), 5 * MIB));
	put(image, 4 * MIB, 'p');
	assert_ok(vhdx_close(&image));
	add_child(folder, "child.vhdx", "parent.vhdx", "parent.vhdx",
		  2 * MIB);

	image = open_image(folder, "child.vhdx", 0);
	put(image, 4 * MIB + UNIT, 'c');
	assert_bytes(image, 4 * MIB, UNIT, 'p');
	assert_bytes(image, 4 * MIB + UNIT, UNIT, 'c');
	assert_bytes(image, 5 * MIB, 512, 'p');
	assert_ok(vhdx_zero(image, 4 * MIB, MIB + 512));
	assert_bytes(image, 4 * MIB, MIB + 512, 0);
	assert_ok(vhdx_close(&image));
}

static void chain_of_three_reads_through(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx *image = open_image(folder, "child.vhdx", 0);

	put(image, MIB + UNIT, 'c');
	assert_ok(vhdx_zero(image, 5 * MIB, MIB));
	assert_ok(vhdx_close(&image));
	add_child(folder, "deep/grandchild.vhdx", "child.vhdx",
		  "../child.vhdx", 4 * MIB);

	image = open_image(folder, "deep/grandchild.vhdx", 0);
	assert_bytes(image, 0, UNIT, 'p');
	assert_bytes(image, MIB, UNIT, 'p');
	assert_bytes(image, MIB + UNIT, UNIT, 'c');
	assert_bytes(image, 5 * MIB, MIB, 0);
	put(image, MIB + 2 * UNIT, 'g');
	assert_bytes(image, 0, UNIT, 'p');
	assert_bytes(image, MIB, UNIT, 'p');
	assert_bytes(image, MIB + UNIT, UNIT, 'c');
	assert_bytes(image, MIB + 2 * UNIT, UNIT, 'g');
	assert_ok(vhdx_close(&image));
}

static void assert_partial(struct vhdx *image, uint8_t second)
{
	assert_bytes(image, MIB, UNIT, 'p');
	assert_bytes(image, MIB + UNIT, UNIT, second);
	assert_bytes(image, MIB + 2 * UNIT, UNIT, 0);
	assert_bytes(image, MIB + 3 * UNIT, UNIT, 'c');
	assert_bytes(image, MIB + 4 * UNIT, MIB - 4 * UNIT, 0);
}

static void partially_present_block_is_read_by_its_bitmap(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx *image = NULL;
	struct vhdx_extent extent;

	make_partial(folder_file(folder, "child.vhdx"));
	assert_check_finds_nothing(folder_file(folder, "child.vhdx"));

	image = open_image(folder, "child.vhdx", VHDX_OPEN_READ_ONLY);
	assert_ok(vhdx_map(image, MIB + 100, MIB, &extent));
	assert_int_equal(extent.kind, VHDX_EXTENT_PARENT);
	assert_int_equal(extent.length, UNIT - 100);
	assert_ok(vhdx_map(image, MIB + UNIT + 100, MIB, &extent));
	assert_int_equal(extent.kind, VHDX_EXTENT_FILE);
	assert_int_equal(extent.file_offset, 5 * MIB + UNIT + 100);
	assert_int_equal(extent.length, UNIT - 100);
	assert_partial(image, 'c');
	assert_ok(vhdx_close(&image));
}

static void partially_present_block_without_bitmap_is_refused(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx *image = NULL;
	char *reason = NULL;

	make_partial(folder_file(folder, "child.vhdx"));
	poke(folder_file(folder, "child.vhdx"), BAT + 4096 * 8, 0, 8);
	assert_status(try_open(folder, "child.vhdx", NULL, 0, &image,
			       &reason), NT_STATUS_FILE_CORRUPT_ERROR);
	assert_string_equal(reason, "BAT: payload[1]: State "
			    "PARTIALLY_PRESENT needs a sector bitmap");
}

/* Who may be a parent */

static void child_without_a_way_to_its_parent_is_refused(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	struct vhdx *image = NULL;
	char *reason = NULL;

	assert_status(vhdx_open(m, vhdx_memory_storage(m), NULL, 0, &image,
				&reason), NT_STATUS_NOT_SUPPORTED);
	assert_string_equal(reason, "file parameters: HasParent: is not "
			    "supported here");
}

static void parent_that_was_written_to_is_refused(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx *image = open_image(folder, "parent.vhdx", 0);
	char *reason = NULL;

	put(image, 0, 'q');
	assert_ok(vhdx_close(&image));
	assert_status(try_open(folder, "child.vhdx", NULL, 0, &image,
			       &reason), NT_STATUS_FILE_INVALID);
	assert_string_equal(reason, "parent parent.vhdx: DataWriteGuid is not "
			    "the parent_linkage: it was written to, or is "
			    "another image");
}

static void parent_that_is_only_opened_stays_the_parent(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx *image = open_image(folder, "parent.vhdx", 0);

	assert_ok(vhdx_close(&image));
	image = open_image(folder, "child.vhdx", 0);
	assert_ok(vhdx_close(&image));
}

static void parent_that_is_not_there_is_told(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx *image = NULL;
	char *reason = NULL;

	folder->files[0].name = "elsewhere.vhdx";
	assert_status(try_open(folder, "child.vhdx", NULL, 0, &image,
			       &reason), NT_STATUS_OBJECT_NAME_NOT_FOUND);
	assert_string_equal(reason, "parent parent.vhdx: "
			    "NT_STATUS_OBJECT_NAME_NOT_FOUND");
}

static void image_that_is_its_own_ancestor_is_refused(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	struct vhdx *image = NULL;
	struct GUID_txt_buf txt;
	const char *guid = NULL;
	uint8_t header[4096];
	struct GUID own;
	size_t i;

	/* parent_linkage is what follows the keys and entries. */
	vhdx_memory_read(m, header, sizeof(header), 64 * KIB);
	own = vhdx_guid_pull(header + 32);
	guid = GUID_buf_string(&own, &txt);
	for (i = 0; guid[i] != '\0'; i++) {
		poke(m, LOCATOR + 44 + 28 + 2 + 2 * i, guid[i], 2);
	}
	folder->files[0].name = "elsewhere.vhdx";
	folder->files[1].name = "parent.vhdx";
	assert_status(try_open(folder, "parent.vhdx", NULL, 0, &image, NULL),
		      NT_STATUS_TOO_MANY_LINKS);
}

static void chain_has_at_most_64_parents(void **state)
{
	struct folder *folder = folder_new(state);
	struct vhdx *image = NULL;
	const char *last = "parent.vhdx";
	unsigned i;

	for (i = 0; i < VHDX_MAX_PARENTS; i++) {
		char *name = talloc_asprintf(folder, "child%u.vhdx", i);

		add_child(folder, name, last, last, MIB);
		last = name;
	}
	image = open_image(folder, last, 0);
	assert_bytes(image, 0, UNIT, 'p');
	put(image, 0, 'c');
	assert_ok(vhdx_close(&image));

	add_child(folder, "toomany.vhdx", last, last, MIB);
	assert_status(try_open(folder, "toomany.vhdx", NULL, 0, &image, NULL),
		      NT_STATUS_TOO_MANY_LINKS);
}

/* The locator, MS-VHDX 2.6.2.6 */

static void locator_is_as_the_format_has_it(void **state)
{
	static const uint8_t type[] = {
		0xB7, 0xEF, 0x4A, 0xB0, 0x9E, 0xD1, 0x81, 0x4A,
		0xB7, 0x89, 0x25, 0xB8, 0xE9, 0x44, 0x59, 0x13,
		0, 0, 2, 0,
	};
	struct folder *folder = folder_new(state);
	struct vhdx_memory *m = add_child(folder, "sub/child.vhdx",
					  "parent.vhdx", "../parent.vhdx",
					  MIB);
	static const char path[] = "..\\parent.vhdx";
	static const char linkage[] = "parent_linkage";
	uint8_t buf[256];
	size_t i;

	vhdx_memory_read(m, buf, sizeof(buf), LOCATOR);
	assert_memory_equal(buf, type, sizeof(type));
	/* 20 bytes of header, 2 * 12 of entries, then the strings */
	assert_int_equal(PULL_LE_U32(buf, 20), 44);
	assert_int_equal(PULL_LE_U16(buf, 28), 2 * strlen(linkage));
	assert_int_equal(PULL_LE_U16(buf, 30), 2 * 38);
	for (i = 0; i < strlen(linkage); i++) {
		assert_int_equal(PULL_LE_U16(buf, 44 + 2 * i), linkage[i]);
	}
	assert_int_equal(PULL_LE_U16(buf, PULL_LE_U32(buf, 24)), '{');
	assert_int_equal(PULL_LE_U16(buf, 42), 2 * strlen(path));
	for (i = 0; i < strlen(path); i++) {
		assert_int_equal(PULL_LE_U16(buf, PULL_LE_U32(buf, 36) +
					     2 * i), path[i]);
	}
}

static void locator_that_breaks_a_rule_is_refused(void **state)
{
	static const struct {
		uint64_t offset;
		uint64_t value;
		size_t length;
		const char *reason;
	} rules[] = {
		{ 0, 0, 4, "LocatorType: is not that of a VHDX" },
		{ 16, 1, 2, "Reserved: must be 0" },
		{ 18, 0xFFFF, 2,
		  "KeyValueCount: must fit into the item, is 65535" },
		{ 18, 0, 2, "parent_linkage: must be a GUID in braces" },
		{ 18, 1, 2, "keys: there must be a path" },
		{ 20, 0, 4, "key[0]: must not be empty, and inside the item" },
		{ 24, 0xFFFFFFFF, 4,
		  "value[0]: must not be empty, and inside the item" },
		{ 28, 0, 2, "key[0]: must not be empty, and inside the item" },
		{ 28, 27, 2, "key[0]: must be UTF-16" },
		{ 30, 0xFFFF, 2,
		  "value[0]: must not be empty, and inside the item" },
		{ 44, 0, 2, "key[0]: must not have a NUL character" },
		{ 44, 'q', 2, "parent_linkage: must be a GUID in braces" },
		{ 44 + 28, '(', 2,
		  "parent_linkage: must be a GUID in braces" },
		{ 44 + 28 + 2, 'x', 2,
		  "parent_linkage: must be a GUID in braces" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rules); i++) {
		struct folder *folder = folder_with_child(state);
		struct vhdx_memory *m = folder_file(folder, "child.vhdx");
		struct vhdx_check_report *report = NULL;
		struct vhdx *image = NULL;
		char *reason = NULL;

		poke(m, LOCATOR + rules[i].offset, rules[i].value,
		     rules[i].length);
		assert_false(NT_STATUS_IS_OK(try_open(
			folder, "child.vhdx", NULL, 0, &image, &reason)));
		assert_non_null(reason);
		assert_memory_equal(reason, "parent locator: ", 16);
		assert_string_equal(reason + 16, rules[i].reason);
		assert_ok(vhdx_check(m, vhdx_memory_storage(m), NULL, NULL,
				     &report));
		assert_int_equal(report->num_findings, 1);
		assert_string_equal(report->findings[0].structure,
				    "parent locator");
		TALLOC_FREE(folder);
	}
}

static void path_leads_to_a_file_below_the_root_or_nowhere(void **state)
{
	static const struct {
		const char *file;
		const char *relative;
		const char *wanted;
	} paths[] = {
		{ "child.vhdx", "parent.vhdx", "parent.vhdx" },
		{ "child.vhdx", ".\\parent.vhdx", "parent.vhdx" },
		{ "a/b/child.vhdx", "parent.vhdx", "a/b/parent.vhdx" },
		{ "a/b/child.vhdx", "..\\..\\c\\p.vhdx", "c/p.vhdx" },
		{ "a/child.vhdx", "..\\x\\..\\p.vhdx", "p.vhdx" },
		{ "child.vhdx", "sub\\\\p.vhdx", "sub/p.vhdx" },
		{ "child.vhdx", "..\\parent.vhdx", NULL },
		{ "a/child.vhdx", "..\\..\\p.vhdx", NULL },
		{ "a/child.vhdx", "..\\b\\..\\..\\p.vhdx", NULL },
		{ "child.vhdx", "\\parent.vhdx", NULL },
		{ "child.vhdx", "\\\\server\\share\\p.vhdx", NULL },
		{ "child.vhdx", "c:\\parent.vhdx", NULL },
		{ "child.vhdx", "parent.vhdx:stream", NULL },
		{ "child.vhdx", "sub/../../p.vhdx", NULL },
		{ "child.vhdx", "/etc/passwd", NULL },
		{ "child.vhdx", "parent.vhdx\\..", NULL },
		{ "child.vhdx", "parent.vhdx\\", NULL },
		{ "child.vhdx", "..", NULL },
		{ "child.vhdx", "", NULL },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		char *path = vhdx_path_resolve(*state, paths[i].file,
					       paths[i].relative);

		if (paths[i].wanted == NULL) {
			assert_null(path);
		} else {
			assert_non_null(path);
			assert_string_equal(path, paths[i].wanted);
		}
	}
}

static void power_cut_leaves_no_child_or_a_whole_one(void **state)
{
	struct folder *folder = folder_new(state);
	struct vhdx *parent = open_image(folder, "parent.vhdx",
					 VHDX_OPEN_READ_ONLY);
	struct vhdx_create_params params = {
		.parent = parent, .parent_path = "parent.vhdx",
	};
	uint32_t seed = 4711;
	unsigned num_whole = 0;
	unsigned i;

	for (i = 0; i < 400; i++) {
		struct vhdx_memory *m = vhdx_memory_new(folder);
		struct vhdx *image = NULL;
		uint8_t signature[8];

		vhdx_memory_fail(m, EIO, i % 20);
		vhdx_create(vhdx_memory_storage(m), &params);
		folder->files[1].name = "child.vhdx";
		folder->files[1].memory = vhdx_memory_cut(m, m, 128, &seed);
		folder->num = 2;
		vhdx_memory_read(folder->files[1].memory, signature, 8, 0);
		if (memcmp(signature, "vhdxfile", 8) == 0) {
			image = open_image(folder, "child.vhdx", 0);
			assert_bytes(image, 7 * MIB, UNIT, 'p');
			assert_ok(vhdx_close(&image));
			num_whole += 1;
		}
		TALLOC_FREE(m);
	}
	assert_true(num_whole > 20 && num_whole < 380);
	folder->num = 1;
	assert_ok(vhdx_close(&parent));
}

/* Each could be as long as the item is: that adds up. */
static void locator_of_very_many_entries_is_refused(void **state)
{
	struct folder *folder = folder_with_child(state);
	struct vhdx_memory *m = folder_file(folder, "child.vhdx");
	struct vhdx *image = NULL;
	char *reason = NULL;
	uint64_t i;

	/* MS-VHDX 2.6.1.2: Length of the sixth item */
	poke(m, METADATA + 32 + 5 * 32 + 20, 65536, 4);
	for (i = 0; i < 32768; i++) {
		poke(m, LOCATOR + 44 + 2 * i, 'a', 2);
	}
	poke(m, LOCATOR + 18, 4000, 2);
	for (i = 0; i < 4000; i++) {
		poke(m, LOCATOR + 20 + 12 * i, 4, 4);
		poke(m, LOCATOR + 24 + 12 * i, 4, 4);
		poke(m, LOCATOR + 28 + 12 * i, 2 + 2 * i, 2);
		poke(m, LOCATOR + 30 + 12 * i, 65530, 2);
	}
	assert_status(try_open(folder, "child.vhdx", NULL, 0, &image,
			       &reason), NT_STATUS_NOT_SUPPORTED);
	assert_string_equal(reason, "parent locator: KeyValueCount: more than "
			    "64 are not supported, there are 4000");
}

static void limit_memory(uint64_t more)
{
	unsigned long pages = 0;
	struct rlimit limit;
	FILE *statm = fopen("/proc/self/statm", "r");

	assert_non_null(statm);
	assert_int_equal(fscanf(statm, "%lu", &pages), 1);
	fclose(statm);
	limit.rlim_cur = (uint64_t)pages * sysconf(_SC_PAGESIZE) + more;
	limit.rlim_max = limit.rlim_cur;
	assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
}

static void path_of_very_many_names_takes_little_memory(void **state)
{
	size_t num = 16000;
	char *relative = talloc_zero_size(*state, 2 * num + 1);
	char *path = NULL;
	int status;
	size_t i;
	pid_t pid;

	for (i = 0; i < num; i++) {
		memcpy(relative + 2 * i, i + 1 < num ? "a\\" : "p", 2);
	}
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		/* Limits are for good. */
		limit_memory(32 * MIB);
		path = vhdx_path_resolve(*state, "child.vhdx", relative);
		_exit(path != NULL && strlen(path) == 2 * num - 1 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
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

#define test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First, when there is no memory yet that others have freed */
		test(path_of_very_many_names_takes_little_memory),
		test(new_child_reads_as_its_parent),
		test(write_to_child_leaves_parent_as_it_is),
		test(zeroed_range_does_not_show_the_parent),
		test(last_block_that_is_short_is_copied),
		test(chain_of_three_reads_through),
		test(partially_present_block_is_read_by_its_bitmap),
		test(partially_present_block_without_bitmap_is_refused),
		test(child_without_a_way_to_its_parent_is_refused),
		test(parent_that_was_written_to_is_refused),
		test(parent_that_is_only_opened_stays_the_parent),
		test(parent_that_is_not_there_is_told),
		test(image_that_is_its_own_ancestor_is_refused),
		test(chain_has_at_most_64_parents),
		test(locator_is_as_the_format_has_it),
		test(locator_that_breaks_a_rule_is_refused),
		test(path_leads_to_a_file_below_the_root_or_nowhere),
		test(power_cut_leaves_no_child_or_a_whole_one),
		test(locator_of_very_many_entries_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
