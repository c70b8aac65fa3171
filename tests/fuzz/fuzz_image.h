/*
 * vfs_rsvd: images for the fuzzer
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _FUZZ_IMAGE_H_
#define _FUZZ_IMAGE_H_

#include "modules/vhdx/vhdx.h"
#include "tests/crash/crash_file.h"

/*
 * An input says which good image to take, and how to damage it:
 *
 *   u8   bits 0-1  dynamic, fixed, of 4 KiB sectors, with a log to replay
 *        bit 2     make the checksums of the headers right again
 *        bit 3     ... of the region tables
 *        bit 4     ... of the entries in the log
 *   then any number of
 *   u8   what is damaged (enum fuzz_place), both copies if bit 7 is set
 *   u16  where in it, little-endian
 *   u8   how many bytes follow
 *   u8[] what is written there
 *
 * Bytes that the fuzzer would never get right otherwise are so the same in
 * each of its images, and inputs stay small.
 */
enum fuzz_place {
	FUZZ_FILE_IDENTIFIER,
	FUZZ_HEADER,
	FUZZ_REGION_TABLE,
	FUZZ_METADATA_TABLE,
	FUZZ_METADATA_ITEMS,
	FUZZ_BAT,
	FUZZ_LOG,
	FUZZ_SIZE,	/* the file gets as many MiB as "where" says */
	FUZZ_NUM_PLACES,
};

/* A file that nobody has open; freed with crash_file_free() */
struct crash_file *fuzz_image(const uint8_t *data, size_t size);

/* A storage of the file, which stays the caller's */
struct vhdx_storage *fuzz_storage(TALLOC_CTX *mem_ctx,
				  struct crash_file *file);

#endif /* _FUZZ_IMAGE_H_ */
