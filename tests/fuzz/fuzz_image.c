/*
 * vfs_rsvd: images for the fuzzer
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/vhdx/vhdx_private.h"
#include "tests/fuzz/fuzz_image.h"

/* What an image asks for must not cost more than this. */
#define MAX_FILE_SIZE (UINT64_C(8) << 30)
#define NUM_IMAGES 4

static ssize_t storage_pread(void *private_data, void *buf, size_t length,
			     off_t offset)
{
	struct crash_file *file = private_data;
	uint64_t size = crash_file_size(file);

	if (offset < 0) {
		errno = EINVAL;
		return -1;
	}
	if ((uint64_t)offset >= size) {
		return 0;
	}
	length = MIN(length, size - offset);
	crash_file_read(file, buf, length, offset);
	return length;
}

static ssize_t storage_pwrite(void *private_data, const void *buf,
			      size_t length, off_t offset)
{
	struct crash_file *file = private_data;

	if (offset < 0) {
		errno = EINVAL;
		return -1;
	}
	if (offset > MAX_FILE_SIZE || length > MAX_FILE_SIZE - offset) {
		errno = EFBIG;
		return -1;
	}
	if (offset + length > crash_file_size(file)) {
		crash_file_resize(file, offset + length);
	}
	crash_file_write(file, buf, length, offset);
	return length;
}

static int storage_fsync(void *private_data)
{
	return 0;
}

static int storage_ftruncate(void *private_data, off_t length)
{
	if (length < 0 || length > MAX_FILE_SIZE) {
		errno = length < 0 ? EINVAL : EFBIG;
		return -1;
	}
	crash_file_resize(private_data, length);
	return 0;
}

static off_t storage_size(void *private_data)
{
	return crash_file_size(private_data);
}

static int storage_punch_hole(void *private_data, off_t offset,
			      off_t length)
{
	struct crash_file *file = private_data;
	uint64_t size = crash_file_size(file);

	if (offset < 0 || length <= 0) {
		errno = EINVAL;
		return -1;
	}
	if ((uint64_t)offset < size) {
		crash_file_write(file, NULL,
				 MIN((uint64_t)length, size - offset), offset);
	}
	return 0;
}

/* The fuzzer does one thing at a time: nothing asynchronous is needed. */
static const struct vhdx_storage_ops storage_ops = {
	.pread = storage_pread,
	.pwrite = storage_pwrite,
	.fsync = storage_fsync,
	.ftruncate = storage_ftruncate,
	.size = storage_size,
	.punch_hole = storage_punch_hole,
};

struct vhdx_storage *fuzz_storage(TALLOC_CTX *mem_ctx,
				  struct crash_file *file)
{
	struct vhdx_storage *storage = talloc(mem_ctx, struct vhdx_storage);

	storage->ops = &storage_ops;
	storage->private_data = file;
	return storage;
}

static void must(NTSTATUS status)
{
	if (!NT_STATUS_IS_OK(status)) {
		fprintf(stderr, "fuzz_image: %s\n", nt_errstr(status));
		abort();
	}
}

/* A disk with something in its first and its last block */
static struct crash_file *image_make(unsigned which)
{
	struct vhdx_create_params params = {
		.virtual_size = 16 * VHDX_MIB,
		.block_size = VHDX_MIB,
		.fixed = which == 1,
		.logical_sector_size = (which == 2) ? 4096 : 512,
	};
	struct crash_file *file = crash_file_new();
	struct vhdx_storage *storage = fuzz_storage(NULL, file);
	struct crash_file *copy = NULL;
	struct vhdx *image = NULL;
	uint8_t buf[4096];

	memset(buf, 0xA5, sizeof(buf));
	must(vhdx_create(storage, &params));
	must(vhdx_open(storage, storage, NULL, 0, &image, NULL));
	must(vhdx_write(image, buf, sizeof(buf), 0));
	must(vhdx_write(image, buf, sizeof(buf),
			params.virtual_size - sizeof(buf)));
	if (which == 3) {
		/* As it is when the power goes */
		copy = crash_file_copy(file);
	}
	must(vhdx_close(&image));
	TALLOC_FREE(storage);
	if (copy != NULL) {
		crash_file_free(file);
		file = copy;
	}
	return file;
}

static void checksum_fix(struct crash_file *file, uint64_t offset,
			 uint32_t length)
{
	uint8_t *buf = malloc(length);
	uint8_t checksum[4];

	if (buf == NULL) {
		abort();
	}
	crash_file_read(file, buf, length, offset);
	/* At the same place in all three structures */
	PUSH_LE_U32(checksum, 0,
		    vhdx_checksum(buf, length, VHDX_HEADER_CHECKSUM));
	crash_file_write(file, checksum, sizeof(checksum),
			 offset + VHDX_HEADER_CHECKSUM);
	free(buf);
}

static void log_checksums_fix(struct crash_file *file, uint64_t log)
{
	uint64_t offset;
	uint8_t header[VHDX_LOG_ENTRY_HEADER_SIZE];

	for (offset = 0; offset < VHDX_MIB; offset += VHDX_SECTOR_SIZE) {
		uint32_t length;

		crash_file_read(file, header, sizeof(header), log + offset);
		length = PULL_LE_U32(header, VHDX_LOG_ENTRY_LENGTH);
		if (PULL_LE_U32(header, 0) == VHDX_LOG_ENTRY_SIGNATURE &&
		    length >= VHDX_LOG_ENTRY_HEADER_SIZE &&
		    length <= VHDX_MIB - offset) {
			checksum_fix(file, log + offset, length);
		}
	}
}

struct layout {
	uint64_t log;
	uint64_t bat;
	uint64_t metadata;
};

/* Where vhdx_create() has put things */
static struct layout layout_of(const struct crash_file *file)
{
	static const struct GUID bat = VHDX_GUID_BAT;
	struct layout layout = { .log = 0 };
	uint8_t header[VHDX_HEADER_SIZE];
	uint8_t table[512];
	unsigned i;

	crash_file_read(file, header, sizeof(header), VHDX_HEADER_OFFSET(0));
	layout.log = PULL_LE_U64(header, VHDX_HEADER_LOG_OFFSET);
	crash_file_read(file, table, sizeof(table),
			VHDX_REGION_TABLE_OFFSET(0));
	for (i = 0; i < 2; i++) {
		const uint8_t *entry = table + VHDX_REGION_ENTRY(i);
		struct GUID guid = vhdx_guid_pull(entry);
		uint64_t offset = PULL_LE_U64(entry,
					      VHDX_REGION_ENTRY_FILE_OFFSET);

		if (GUID_equal(&guid, &bat)) {
			layout.bat = offset;
		} else {
			layout.metadata = offset;
		}
	}
	return layout;
}

static void damage(struct crash_file *file, const struct layout *layout,
		   uint8_t place, uint16_t where, const uint8_t *data,
		   size_t length)
{
	uint64_t places[FUZZ_NUM_PLACES][2] = {
		{ 0, 0 },
		{ VHDX_HEADER_OFFSET(0), VHDX_HEADER_OFFSET(1) },
		{ VHDX_REGION_TABLE_OFFSET(0), VHDX_REGION_TABLE_OFFSET(1) },
		{ layout->metadata, layout->metadata },
		{ layout->metadata + VHDX_METADATA_TABLE_SIZE,
		  layout->metadata + VHDX_METADATA_TABLE_SIZE },
		{ layout->bat, layout->bat },
		{ layout->log, layout->log },
	};
	unsigned copy;

	for (copy = 0; copy < ((place & 0x80) ? 2 : 1); copy++) {
		uint64_t offset = places[(place & 0x7F) % FUZZ_SIZE][copy] +
				  where;

		crash_file_write(file, data, length, offset);
	}
}

struct crash_file *fuzz_image(const uint8_t *data, size_t size)
{
	static struct crash_file *images[NUM_IMAGES];
	static struct layout layouts[NUM_IMAGES];
	struct crash_file *file = NULL;
	uint64_t file_size = 0;
	uint8_t flags;
	unsigned which;
	unsigned i;

	for (i = 0; images[i] == NULL && i < NUM_IMAGES; i++) {
		images[i] = image_make(i);
		layouts[i] = layout_of(images[i]);
		if (i == NUM_IMAGES - 1) {
			break;
		}
	}
	flags = size > 0 ? data[0] : 0;
	which = flags % NUM_IMAGES;
	file = crash_file_copy(images[which]);
	for (data += 1; size >= 5; ) {
		uint8_t place = data[0];
		uint16_t where = PULL_LE_U16(data, 1);
		size_t length = MIN(data[3], size - 5);

		if ((place & 0x7F) % FUZZ_NUM_PLACES == FUZZ_SIZE) {
			file_size = where * VHDX_MIB;
		} else {
			damage(file, &layouts[which],
			       (place & 0x80) |
			       (place & 0x7F) % FUZZ_NUM_PLACES,
			       where, data + 4, length);
		}
		data += 4 + length;
		size -= 4 + length;
	}
	for (i = 0; i < 2; i++) {
		if (flags & 0x04) {
			checksum_fix(file, VHDX_HEADER_OFFSET(i),
				     VHDX_HEADER_SIZE);
		}
		if (flags & 0x08) {
			checksum_fix(file, VHDX_REGION_TABLE_OFFSET(i),
				     VHDX_REGION_TABLE_SIZE);
		}
	}
	if (flags & 0x10) {
		log_checksums_fix(file, layouts[which].log);
	}
	if (file_size != 0 && file_size < crash_file_size(file)) {
		crash_file_resize(file, file_size);
	}
	return file;
}
