/*
 * vfs_rsvd: what the tests of the SCSI device server have in common
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _SCSI_TEST_H_
#define _SCSI_TEST_H_

#include "replace.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "tests/unit/scsi_memory_disk.h"

#define TEST_NUM_BLOCKS 4096
#define TEST_BLOCK 512

/* A thin disk that three initiators have open */
struct scsi_test {
	struct scsi_memory_disk *disk;
	struct scsi_nexus a;
	struct scsi_nexus b;
	struct scsi_nexus c;
	struct scsi_task task;		/* the last one */
	uint8_t in[SCSI_MAX_TRANSFER_LENGTH];
	uint8_t out[SCSI_MAX_TRANSFER_LENGTH];
};

int scsi_test_setup(void **state);
int scsi_test_teardown(void **state);

/* Send a command with *length* bytes of data. */
void scsi_test_out(struct scsi_test *t, struct scsi_nexus *nexus,
		   const uint8_t *cdb, size_t cdb_length, const void *out,
		   size_t length);

#define CDB(...) \
	((const uint8_t[]) { __VA_ARGS__ }), \
	sizeof((const uint8_t[]) { __VA_ARGS__ })

/* The nexus and the bytes of the CDB */
#define scsi_send(t, nexus, ...) \
	scsi_test_out(t, nexus, CDB(__VA_ARGS__), NULL, 0)
/* The nexus, data and its length, and the bytes of the CDB */
#define scsi_send_data(t, nexus, out, length, ...) \
	scsi_test_out(t, nexus, CDB(__VA_ARGS__), out, length)

#define assert_good(t) \
	_scsi_assert_status(t, SCSI_STATUS_GOOD, __FILE__, __LINE__)
#define assert_conflict(t) \
	_scsi_assert_status(t, SCSI_STATUS_RESERVATION_CONFLICT, \
			    __FILE__, __LINE__)
/* Fixed format sense with key, and ASC << 8 | ASCQ */
#define assert_sense(t, key, asc) \
	_scsi_assert_sense(t, key, asc, __FILE__, __LINE__)
/* Sense key specific bytes 15 to 17 */
#define assert_field(t, flags, byte) \
	_scsi_assert_field(t, flags, byte, __FILE__, __LINE__)
#define assert_invalid_cdb(t, flags, byte) do { \
	assert_sense(t, 0x5, 0x2400); \
	assert_field(t, flags, byte); \
} while (0)
#define assert_invalid_parameter(t, flags, byte) do { \
	assert_sense(t, 0x5, 0x2600); \
	assert_field(t, flags, byte); \
} while (0)
/* The data that came in is exactly this. */
#define assert_data(t, ...) \
	_scsi_assert_data(t, CDB(__VA_ARGS__), __FILE__, __LINE__)

void _scsi_assert_status(struct scsi_test *t, uint8_t status,
			 const char *file, int line);
void _scsi_assert_sense(struct scsi_test *t, uint8_t key, uint16_t asc,
			const char *file, int line);
void _scsi_assert_field(struct scsi_test *t, uint8_t flags, uint16_t byte,
			const char *file, int line);
void _scsi_assert_data(struct scsi_test *t, const uint8_t *data,
		       size_t length, const char *file, int line);

/*
 * PERSISTENT RESERVE OUT with the basic parameter list; scope_type is byte 2
 * of the CDB, flags byte 20 of the list.
 */
void scsi_test_pr_out(struct scsi_test *t, struct scsi_nexus *nexus,
		      uint8_t service_action, uint8_t scope_type,
		      uint64_t key, uint64_t sa_key, uint8_t flags);
void scsi_test_register(struct scsi_test *t, struct scsi_nexus *nexus,
			uint64_t key);

/* TEST UNIT READY until no unit attention is left */
void scsi_test_clear_ua(struct scsi_test *t, struct scsi_nexus *nexus);

#define scsi_unit_test(fn) \
	cmocka_unit_test_setup_teardown(fn, scsi_test_setup, \
					scsi_test_teardown)

#endif /* _SCSI_TEST_H_ */
