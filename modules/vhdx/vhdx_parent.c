/*
 * vfs_rsvd: what a differencing image is based on (MS-VHDX 2.6.2.6)
 *
 * A parent is opened for reading only and by nobody else for writing, so it
 * is as it was found: what is cached of it stays right, and it needs no
 * record that is shared with others.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/charset/charset.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"

#define LOCATOR "parent locator"
#define MAX_LOCATOR_SIZE (64 * VHDX_KIB)
/* Five are known. Strings may share their bytes, so each can be a large one. */
#define MAX_LOCATOR_ENTRIES 64

/* The locator */

struct locator_entry {
	char *key;
	char *value;
};

/* A string of UTF-16; NULL when it breaks a rule, which is then told. */
static char *string_pull(TALLOC_CTX *mem_ctx, const uint8_t *buf, size_t size,
			 uint32_t offset, uint16_t length, const char *field,
			 struct vhdx_findings *findings)
{
	char *s = NULL;
	size_t n = 0;
	size_t i;

	if (offset == 0 || length == 0 || offset > size ||
	    length > size - offset) {
		vhdx_find(findings, true, LOCATOR, field,
			  "must not be empty, and inside the item");
		return NULL;
	}
	if (length % 2 != 0) {
		vhdx_find(findings, true, LOCATOR, field, "must be UTF-16");
		return NULL;
	}
	for (i = 0; i < length; i += 2) {
		if (PULL_LE_U16(buf, offset + i) == 0) {
			vhdx_find(findings, true, LOCATOR, field,
				  "must not have a NUL character");
			return NULL;
		}
	}
	if (!convert_string_talloc(mem_ctx, CH_UTF16LE, CH_UNIX, buf + offset,
				   length, &s, &n)) {
		vhdx_find(findings, true, LOCATOR, field, "must be UTF-16");
		return NULL;
	}
	return s;
}

static bool entries_pull(TALLOC_CTX *mem_ctx, const uint8_t *buf, size_t size,
			 struct locator_entry *entries, size_t num,
			 struct vhdx_findings *findings)
{
	size_t i;
	size_t j;

	for (i = 0; i < num; i++) {
		const uint8_t *p = buf + VHDX_LOCATOR_ENTRY(i);
		char field[32];

		snprintf(field, sizeof(field), "key[%zu]", i);
		entries[i].key = string_pull(
			mem_ctx, buf, size,
			PULL_LE_U32(p, VHDX_LOCATOR_ENTRY_KEY_OFFSET),
			PULL_LE_U16(p, VHDX_LOCATOR_ENTRY_KEY_LENGTH),
			field, findings);
		snprintf(field, sizeof(field), "value[%zu]", i);
		entries[i].value = string_pull(
			mem_ctx, buf, size,
			PULL_LE_U32(p, VHDX_LOCATOR_ENTRY_VALUE_OFFSET),
			PULL_LE_U16(p, VHDX_LOCATOR_ENTRY_VALUE_LENGTH),
			field, findings);
		if (entries[i].key == NULL || entries[i].value == NULL) {
			return false;
		}
		for (j = 0; j < i; j++) {
			if (strcmp(entries[i].key, entries[j].key) == 0) {
				vhdx_find(findings, true, LOCATOR, "keys",
					  "must be unique, there are two %s",
					  entries[i].key);
				return false;
			}
		}
	}
	return true;
}

static const char *entry_find(const struct locator_entry *entries, size_t num,
			      const char *key)
{
	size_t i;

	for (i = 0; i < num; i++) {
		if (strcmp(entries[i].key, key) == 0) {
			return entries[i].value;
		}
	}
	return NULL;
}

/* "{83ed0ec3-24c8-49a6-a959-5e4bf1288bfb}", in either case */
static bool linkage_parse(const char *value, const char *key,
			  struct GUID *guid, struct vhdx_findings *findings)
{
	if (value != NULL && value[0] == '{' && strlen(value) == 38 &&
	    NT_STATUS_IS_OK(GUID_from_string(value, guid)) &&
	    !GUID_all_zero(guid)) {
		return true;
	}
	vhdx_find(findings, true, LOCATOR, key, "must be a GUID in braces");
	return false;
}

static NTSTATUS locator_parse(struct vhdx_locator *locator,
			      const uint8_t *buf, size_t size,
			      struct vhdx_findings *findings)
{
	static const struct GUID type_vhdx = VHDX_GUID_LOCATOR_TYPE_VHDX;
	struct locator_entry *entries = NULL;
	struct GUID type = vhdx_guid_pull(buf);
	size_t num = PULL_LE_U16(buf, VHDX_LOCATOR_KEY_VALUE_COUNT);
	const char *linkage2 = NULL;
	const char *path = NULL;

	if (!GUID_equal(&type, &type_vhdx)) {
		vhdx_find(findings, true, LOCATOR, "LocatorType",
			  "is not that of a VHDX");
		return NT_STATUS_NOT_SUPPORTED;
	}
	if (PULL_LE_U16(buf, VHDX_LOCATOR_RESERVED) != 0) {
		vhdx_find(findings, true, LOCATOR, "Reserved", "must be 0");
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	if (VHDX_LOCATOR_ENTRY(num) > size) {
		vhdx_find(findings, true, LOCATOR, "KeyValueCount",
			  "must fit into the item, is %zu", num);
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	if (num > MAX_LOCATOR_ENTRIES) {
		vhdx_find(findings, true, LOCATOR, "KeyValueCount",
			  "more than %u are not supported, there are %zu",
			  MAX_LOCATOR_ENTRIES, num);
		return NT_STATUS_NOT_SUPPORTED;
	}
	entries = talloc_zero_array(locator, struct locator_entry, num + 1);
	if (entries == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	if (!entries_pull(entries, buf, size, entries, num, findings)) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	if (!linkage_parse(entry_find(entries, num, "parent_linkage"),
			   "parent_linkage", &locator->linkage, findings)) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	linkage2 = entry_find(entries, num, "parent_linkage2");
	if (linkage2 != NULL &&
	    !linkage_parse(linkage2, "parent_linkage2", &locator->linkage2,
			   findings)) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	path = entry_find(entries, num, "relative_path");
	if (path == NULL &&
	    entry_find(entries, num, "volume_path") == NULL &&
	    entry_find(entries, num, "absolute_win32_path") == NULL) {
		vhdx_find(findings, true, LOCATOR, "keys",
			  "there must be a path");
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	if (path != NULL) {
		locator->relative_path = talloc_strdup(locator, path);
		if (locator->relative_path == NULL) {
			return NT_STATUS_NO_MEMORY;
		}
	}
	TALLOC_FREE(entries);
	return NT_STATUS_OK;
}

NTSTATUS vhdx_locator_load(struct vhdx *image, TALLOC_CTX *mem_ctx,
			   struct vhdx_locator **_locator,
			   struct vhdx_findings *findings)
{
	struct vhdx_locator *locator = NULL;
	uint64_t size = image->locator.length;
	uint8_t *buf = NULL;
	NTSTATUS status;

	if (size < VHDX_LOCATOR_ENTRY(0) || size > MAX_LOCATOR_SIZE) {
		vhdx_find(findings, true, LOCATOR, "Length",
			  "must be from 20 bytes to 64 KiB, is %" PRIu64,
			  size);
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	locator = talloc_zero(mem_ctx, struct vhdx_locator);
	if (locator == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	buf = talloc_size(locator, size);
	if (buf == NULL) {
		TALLOC_FREE(locator);
		return NT_STATUS_NO_MEMORY;
	}
	status = vhdx_metadata_read(image, buf, size, image->locator.offset);
	if (NT_STATUS_IS_OK(status)) {
		status = locator_parse(locator, buf, size, findings);
	}
	TALLOC_FREE(buf);
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(locator);
		return status;
	}
	*_locator = locator;
	return NT_STATUS_OK;
}

/*
 * The key (0) or the value (1) of an entry, in UTF-16, behind *end*, which
 * moves on
 */
static bool string_push(uint8_t *buf, size_t i, unsigned which,
			const void *utf16, size_t n, size_t *end)
{
	uint8_t *entry = buf + VHDX_LOCATOR_ENTRY(i);

	if (n > UINT16_MAX || *end + n > MAX_LOCATOR_SIZE) {
		return false;
	}
	memcpy(buf + *end, utf16, n);
	PUSH_LE_U32(entry, VHDX_LOCATOR_ENTRY_KEY_OFFSET + 4 * which, *end);
	PUSH_LE_U16(entry, VHDX_LOCATOR_ENTRY_KEY_LENGTH + 2 * which, n);
	*end += n;
	return true;
}

static bool entry_push(TALLOC_CTX *mem_ctx, uint8_t *buf, size_t i,
		       const char *key, const char *value, size_t *end)
{
	const char *strings[] = { key, value };
	unsigned j;

	for (j = 0; j < ARRAY_SIZE(strings); j++) {
		char *utf16 = NULL;
		size_t n = 0;
		bool ok;

		ok = convert_string_talloc(mem_ctx, CH_UNIX, CH_UTF16LE,
					   strings[j], strlen(strings[j]),
					   &utf16, &n) &&
		     string_push(buf, i, j, utf16, n, end);
		TALLOC_FREE(utf16);
		if (!ok) {
			return false;
		}
	}
	return true;
}

static bool linkage_push(TALLOC_CTX *mem_ctx, uint8_t *buf, size_t i,
			 const char *key, const struct GUID *guid,
			 size_t *end)
{
	struct GUID_txt_buf txt;
	char braces[40];

	snprintf(braces, sizeof(braces), "{%s}", GUID_buf_string(guid, &txt));
	return entry_push(mem_ctx, buf, i, key, braces, end);
}

uint8_t *vhdx_locator_push(TALLOC_CTX *mem_ctx, const struct GUID *linkage,
			   const char *relative_path, size_t *length)
{
	static const struct GUID type_vhdx = VHDX_GUID_LOCATOR_TYPE_VHDX;
	size_t end = VHDX_LOCATOR_ENTRY(2);
	char *path = NULL;
	uint8_t *buf = NULL;
	size_t i;

	buf = talloc_zero_size(mem_ctx, MAX_LOCATOR_SIZE);
	if (buf == NULL) {
		return NULL;
	}
	path = talloc_strdup(buf, relative_path);
	if (path == NULL) {
		TALLOC_FREE(buf);
		return NULL;
	}
	for (i = 0; path[i] != '\0'; i++) {
		path[i] = (path[i] == '/') ? '\\' : path[i];
	}
	vhdx_guid_push(buf, &type_vhdx);
	PUSH_LE_U16(buf, VHDX_LOCATOR_KEY_VALUE_COUNT, 2);
	if (!linkage_push(buf, buf, 0, "parent_linkage", linkage, &end) ||
	    !entry_push(buf, buf, 1, "relative_path", path, &end)) {
		TALLOC_FREE(buf);
		return NULL;
	}
	*length = end;
	return buf;
}

/* Is it the key of an entry? They are case sensitive. */
static bool entry_has_key(const uint8_t *buf, size_t i, const char *key)
{
	const uint8_t *entry = buf + VHDX_LOCATOR_ENTRY(i);
	const uint8_t *p = buf + PULL_LE_U32(entry,
					     VHDX_LOCATOR_ENTRY_KEY_OFFSET);
	size_t length = PULL_LE_U16(entry, VHDX_LOCATOR_ENTRY_KEY_LENGTH);
	size_t n = strlen(key);
	size_t j;

	if (length != 2 * n) {
		return false;
	}
	for (j = 0; j < n; j++) {
		if (PULL_LE_U16(p, 2 * j) != (uint8_t)key[j]) {
			return false;
		}
	}
	return true;
}

/* Of a locator that vhdx_locator_load() has found right; or NULL */
static uint8_t *locator_relink(TALLOC_CTX *mem_ctx, const uint8_t *old,
			       const struct GUID *linkage,
			       const struct GUID *linkage2, size_t *length)
{
	size_t num_old = PULL_LE_U16(old, VHDX_LOCATOR_KEY_VALUE_COUNT);
	size_t num = 0;
	size_t end = VHDX_LOCATOR_ENTRY(num_old + 1);
	uint8_t *buf = talloc_zero_size(mem_ctx, MAX_LOCATOR_SIZE);
	bool ok;
	size_t i;

	if (buf == NULL || end > MAX_LOCATOR_SIZE) {
		TALLOC_FREE(buf);
		return NULL;
	}
	memcpy(buf, old, VHDX_LOCATOR_ENTRY(0));
	ok = linkage_push(buf, buf, num++, "parent_linkage", linkage, &end);
	if (linkage2 != NULL) {
		ok &= linkage_push(buf, buf, num++, "parent_linkage2",
				   linkage2, &end);
	}
	for (i = 0; i < num_old && ok; i++) {
		const uint8_t *entry = old + VHDX_LOCATOR_ENTRY(i);
		unsigned j;

		if (entry_has_key(old, i, "parent_linkage") ||
		    entry_has_key(old, i, "parent_linkage2")) {
			continue;
		}
		for (j = 0; j < 2 && ok; j++) {
			ok = string_push(
				buf, num, j, old + PULL_LE_U32(
					entry,
					VHDX_LOCATOR_ENTRY_KEY_OFFSET +
					4 * j),
				PULL_LE_U16(entry,
					    VHDX_LOCATOR_ENTRY_KEY_LENGTH +
					    2 * j), &end);
		}
		num += 1;
	}
	if (!ok) {
		TALLOC_FREE(buf);
		return NULL;
	}
	PUSH_LE_U16(buf, VHDX_LOCATOR_KEY_VALUE_COUNT, num);
	*length = end;
	return buf;
}

NTSTATUS vhdx_locator_relink(struct vhdx *image, const struct GUID *linkage,
			     const struct GUID *linkage2)
{
	static const struct GUID id = VHDX_GUID_PARENT_LOCATOR;
	struct vhdx_change *change = vhdx_change_new(image, true);
	struct vhdx_findings *findings = NULL;
	struct vhdx_locator *locator = NULL;
	struct vhdx_range place;
	uint8_t *old = NULL;
	uint8_t *new = NULL;
	size_t length;
	NTSTATUS status = NT_STATUS_NO_MEMORY;

	if (change == NULL) {
		return status;
	}
	findings = talloc_zero(change, struct vhdx_findings);
	old = talloc_size(change, MAX(image->locator.length, 1));
	if (findings == NULL || old == NULL) {
		goto done;
	}
	status = vhdx_locator_load(image, change, &locator, findings);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_metadata_read(image, old, image->locator.length,
					    image->locator.offset);
	}
	if (!NT_STATUS_IS_OK(status)) {
		goto done;
	}
	new = locator_relink(change, old, linkage, linkage2, &length);
	if (new == NULL) {
		status = NT_STATUS_DISK_FULL;
		goto done;
	}
	status = vhdx_metadata_replace(image, change, &id, new, length,
				       &place);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_change_run(change);
	} else if (NT_STATUS_EQUAL(status, NT_STATUS_RETRY)) {
		/* More than one log entry can have: paths without end */
		status = NT_STATUS_DISK_FULL;
	}
	if (NT_STATUS_IS_OK(status)) {
		image->locator.offset = place.offset;
		image->locator.length = place.length;
		status = vhdx_sync(image, VHDX_SYNC_ALL);
	}
done:
	TALLOC_FREE(change);
	return status;
}

/* Paths */

/* What no name on a share is; a colon would be a stream or a drive. */
static bool name_is_allowed(const char *name)
{
	return strpbrk(name, "/:*?\"<>|") == NULL;
}

/*
 * Without looking at the file system: what is a symbolic link there must not
 * decide where ".." leads.
 */
char *vhdx_path_resolve(TALLOC_CTX *mem_ctx, const char *file,
			const char *relative)
{
	TALLOC_CTX *frame = talloc_new(mem_ctx);
	/* Room for both: it never gets longer. */
	char *path = talloc_asprintf(frame, "%s/%s", file, relative);
	char *rest = talloc_strdup(frame, relative);
	char *name = NULL;
	char *end = NULL;
	bool is_file = false;

	if (path == NULL || rest == NULL || rest[0] == '\\') {
		goto refused;
	}
	path[strlen(file)] = '\0';
	end = strrchr(path, '/');
	*(end != NULL ? end : path) = '\0';

	while ((name = strsep(&rest, "\\")) != NULL) {
		is_file = false;
		if (name[0] == '\0' || strcmp(name, ".") == 0) {
			continue;
		}
		if (strcmp(name, "..") == 0) {
			if (path[0] == '\0') {
				goto refused;
			}
			end = strrchr(path, '/');
			*(end != NULL ? end : path) = '\0';
			continue;
		}
		if (!name_is_allowed(name)) {
			goto refused;
		}
		end = path + strlen(path);
		if (end != path) {
			*end = '/';
			end += 1;
		}
		memcpy(end, name, strlen(name) + 1);
		is_file = true;
	}
	if (!is_file) {
		goto refused;
	}
	talloc_steal(mem_ctx, path);
	TALLOC_FREE(frame);
	return path;
refused:
	TALLOC_FREE(frame);
	return NULL;
}

/* The chain */

struct vhdx *vhdx_parent(const struct vhdx *image)
{
	return image->parent;
}

const char *vhdx_parent_path(const struct vhdx *image)
{
	return image->parent_path;
}

/* Is the one that was found what the child was made from? */
static NTSTATUS parent_check(struct vhdx *image, struct vhdx *parent,
			     const struct vhdx_locator *locator,
			     const char **rule)
{
	const struct GUID *guid = &parent->header.data_write_guid;

	if (!GUID_equal(guid, &locator->linkage) &&
	    (GUID_all_zero(&locator->linkage2) ||
	     !GUID_equal(guid, &locator->linkage2))) {
		*rule = "DataWriteGuid is not the parent_linkage: it was "
			"written to, or is another image";
		return NT_STATUS_FILE_INVALID;
	}
	if (parent->geometry.logical_sector_size !=
	    image->geometry.logical_sector_size) {
		*rule = "LogicalSectorSize is another";
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	return NT_STATUS_OK;
}

/* Called for an image before its parents are opened */
static NTSTATUS chain_check(const struct vhdx *image, const char **rule)
{
	const struct vhdx *child = NULL;
	unsigned depth = 0;

	for (child = image->child; child != NULL; child = child->child) {
		depth += 1;
		if (depth >= VHDX_MAX_PARENTS) {
			*rule = "the chain of parents is too long";
			return NT_STATUS_TOO_MANY_LINKS;
		}
		if (GUID_equal(&child->header.data_write_guid,
			       &image->header.data_write_guid)) {
			*rule = "the chain of parents leads back to itself";
			return NT_STATUS_TOO_MANY_LINKS;
		}
	}
	return NT_STATUS_OK;
}

static NTSTATUS parent_open(struct vhdx *image, TALLOC_CTX *mem_ctx,
			    const struct vhdx_parents *parents,
			    const struct vhdx_locator *locator, char **reason)
{
	struct vhdx_parents grandparents = *parents;
	struct vhdx_storage *storage = NULL;
	const char *rule = NULL;
	char *why = NULL;
	NTSTATUS status;

	status = chain_check(image, &rule);
	if (!NT_STATUS_IS_OK(status)) {
		*reason = talloc_strdup(mem_ctx, rule);
		return status;
	}
	if (locator->relative_path == NULL) {
		*reason = talloc_strdup(mem_ctx, "parent locator: only a "
					"relative_path is supported");
		return NT_STATUS_NOT_SUPPORTED;
	}
	image->parent_path = vhdx_path_resolve(image, parents->path,
					       locator->relative_path);
	if (image->parent_path == NULL) {
		*reason = talloc_asprintf(mem_ctx, "parent locator: "
					  "relative_path: %s is not a file "
					  "below the root",
					  locator->relative_path);
		return NT_STATUS_OBJECT_PATH_INVALID;
	}
	status = parents->open(mem_ctx, image->parent_path,
			       parents->private_data, &storage);
	if (!NT_STATUS_IS_OK(status)) {
		*reason = talloc_asprintf(mem_ctx, "parent %s: %s",
					  image->parent_path,
					  nt_errstr(status));
		return status;
	}
	grandparents.path = image->parent_path;
	status = vhdx_open_image(mem_ctx, storage, NULL, VHDX_OPEN_READ_ONLY,
				 &grandparents, image, &image->parent, &why);
	if (!NT_STATUS_IS_OK(status)) {
		*reason = talloc_asprintf(mem_ctx, "parent %s: %s",
					  image->parent_path,
					  why != NULL ? why :
					  nt_errstr(status));
		TALLOC_FREE(why);
		return status;
	}
	talloc_steal(image, image->parent);
	status = parent_check(image, image->parent, locator, &rule);
	if (!NT_STATUS_IS_OK(status)) {
		*reason = talloc_asprintf(mem_ctx, "parent %s: %s",
					  image->parent_path, rule);
		TALLOC_FREE(image->parent);
	}
	return status;
}

NTSTATUS vhdx_parents_open(struct vhdx *image, TALLOC_CTX *mem_ctx,
			   const struct vhdx_parents *parents, char **reason)
{
	struct vhdx_findings *findings = NULL;
	struct vhdx_locator *locator = NULL;
	NTSTATUS status;

	findings = talloc_zero(image, struct vhdx_findings);
	if (findings == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	status = vhdx_locator_load(image, findings, &locator, findings);
	if (NT_STATUS_IS_OK(status)) {
		status = parent_open(image, mem_ctx, parents, locator,
				     reason);
	} else {
		*reason = vhdx_findings_reason(mem_ctx, findings);
	}
	TALLOC_FREE(findings);
	return status;
}

NTSTATUS vhdx_parent_source(struct vhdx *image, uint64_t offset,
			    uint64_t length, struct vhdx_source *source)
{
	struct vhdx_extent extent = {
		.kind = VHDX_EXTENT_PARENT, .length = length,
	};

	while (extent.kind == VHDX_EXTENT_PARENT) {
		uint64_t size;
		NTSTATUS status;

		image = image->parent;
		if (image == NULL) {
			return NT_STATUS_INTERNAL_ERROR;
		}
		size = image->geometry.virtual_size;
		if (offset >= size) {
			/* A child can be larger than its parent. */
			extent.kind = VHDX_EXTENT_ZERO;
			break;
		}
		status = vhdx_map(image, offset,
				  MIN(extent.length, size - offset), &extent);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	*source = (struct vhdx_source) { .length = extent.length };
	if (extent.kind == VHDX_EXTENT_FILE) {
		source->storage = image->storage;
		source->file_offset = extent.file_offset;
	}
	return NT_STATUS_OK;
}

NTSTATUS vhdx_source_find(struct vhdx *image, uint64_t offset,
			  uint64_t length, struct vhdx_source *source)
{
	struct vhdx_extent extent;
	NTSTATUS status;

	status = vhdx_map(image, offset, length, &extent);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (extent.kind == VHDX_EXTENT_PARENT) {
		return vhdx_parent_source(image, offset, extent.length,
					  source);
	}
	*source = (struct vhdx_source) { .length = extent.length };
	if (extent.kind == VHDX_EXTENT_FILE) {
		source->storage = image->storage;
		source->file_offset = extent.file_offset;
	}
	return NT_STATUS_OK;
}
