/*
 * vfs_rsvd: the record of a disk that all processes share
 *
 * Processes are views with server_ids of their own on one database; only where
 * one is to die half-way is it a real one.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "system/filesys.h"
#include "system/wait.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/syscall.h>
#include "lib/util/debug.h"
#include "lib/util/server_id.h"
#include "librpc/ndr/libndr.h"
#include "librpc/gen_ndr/ndr_misc.h"
#include "modules/rsvd/rsvd_disk.h"
#include "modules/rsvd/rsvd_record.h"

#define NUM_PROCESSES 3

/*
 * The nth write to a file from now on is the last thing this process does.
 * tdb, opened without mmap, has no other way to change a database.
 */
static int writes_to_live = -1;

static void count_write(void)
{
	if (writes_to_live < 0) {
		return;
	}
	if (writes_to_live == 0) {
		raise(SIGKILL);
	}
	writes_to_live -= 1;
}

ssize_t pwrite(int fd, const void *buf, size_t count, off_t offset)
{
	count_write();
	return syscall(SYS_pwrite64, fd, buf, count, offset);
}

ssize_t pwrite64(int fd, const void *buf, size_t count, off64_t offset)
{
	count_write();
	return syscall(SYS_pwrite64, fd, buf, count, offset);
}

int ftruncate64(int fd, off64_t length)
{
	count_write();
	return syscall(SYS_ftruncate, fd, length);
}

struct fixture {
	char dir[64];
	struct db_context *db;
	struct db_context *reservations_db;
	struct GUID boot_id;
	struct GUID disk_id;
	struct file_id file_id;
	bool dead[NUM_PROCESSES];
	struct rsvd_disk *process[NUM_PROCESSES];
};

static const struct GUID initiator_1 = { .time_low = 1, };
static const struct GUID initiator_2 = { .time_low = 2, };

static struct server_id server_id_of(int process)
{
	return (struct server_id) {
		.pid = 1000 + process,
		.vnn = NONCLUSTER_VNN,
		.unique_id = 77,
	};
}

static bool is_alive(const struct server_id *id, void *private_data)
{
	struct fixture *f = private_data;

	return !f->dead[id->pid - 1000];
}

static struct db_context *open_db(struct fixture *f, const char *name,
				  int flags)
{
	struct db_context *db = NULL;
	char *path = talloc_asprintf(f, "%s/%s", f->dir, name);

	db = dbwrap_local_open(f, path, 0,
			       flags | TDB_INCOMPATIBLE_HASH | TDB_NOMMAP,
			       O_RDWR|O_CREAT, 0600,
			       DBWRAP_LOCK_ORDER_NONE, DBWRAP_FLAG_NONE);
	assert_non_null(db);
	talloc_free(path);
	return db;
}

static void start_processes(struct fixture *f)
{
	int i;

	for (i = 0; i < NUM_PROCESSES; i++) {
		f->dead[i] = false;
		f->process[i] = rsvd_disk_init(f, f->db, &f->file_id,
					       server_id_of(i), is_alive, f);
		assert_non_null(f->process[i]);
		rsvd_disk_set_persistent(f->process[i], f->reservations_db,
					 &f->disk_id, &f->boot_id);
	}
}

/* All of smbd stops, and starts again with an empty rsvd.tdb. */
static void restart(struct fixture *f)
{
	int i;

	for (i = 0; i < NUM_PROCESSES; i++) {
		TALLOC_FREE(f->process[i]);
	}
	dbwrap_wipe(f->db);
	start_processes(f);
}

static void silence(void *private_data, int level, const char *msg)
{
}

static int setup(void **state)
{
	struct fixture *f = talloc_zero(NULL, struct fixture);

	snprintf(f->dir, sizeof(f->dir), "/tmp/test_rsvd_disk.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->db = open_db(f, "rsvd.tdb", TDB_CLEAR_IF_FIRST|TDB_SEQNUM);
	f->reservations_db = open_db(f, "rsvd_reservations.tdb", TDB_NOSYNC);
	f->boot_id.time_low = 4711;
	f->disk_id.time_low = 4712;
	f->file_id = (struct file_id) { .devid = 1, .inode = 2, };
	start_processes(f);

	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char *path = NULL;

	debug_set_callback(NULL, NULL);
	path = talloc_asprintf(f, "%s/rsvd.tdb", f->dir);
	unlink(path);
	path = talloc_asprintf(f, "%s/rsvd_reservations.tdb", f->dir);
	unlink(path);
	rmdir(f->dir);
	talloc_free(f);
	return 0;
}

static struct rsvd_disk_open shared_open(uint64_t open_id,
					 const struct GUID *initiator)
{
	return (struct rsvd_disk_open) {
		.open_id = open_id,
		.initiator_id = *initiator,
		.originator = 1,
		.protocol_version = 2,
		.access_mask = 0x12019f,
		.host_name = "node",
		.client_address = "192.0.2.1",
		.user_name = "hyperv",
	};
}

static struct rsvd_disk_open raw_open(uint64_t open_id)
{
	return (struct rsvd_disk_open) {
		.open_id = open_id, .originator = 4, .raw = true,
	};
}

static void attach(struct rsvd_disk *disk, uint64_t open_id,
		   const struct GUID *initiator)
{
	struct rsvd_disk_open open = shared_open(open_id, initiator);

	assert_true(NT_STATUS_IS_OK(rsvd_disk_add_open(disk, &open)));
}

static bool has_record(struct fixture *f)
{
	uint8_t buf[RSVD_DISK_KEY_SIZE];

	return dbwrap_exists(f->db, rsvd_disk_key(&f->file_id, 'D', buf));
}

static void store_record(struct fixture *f, const void *p, size_t length)
{
	uint8_t buf[RSVD_DISK_KEY_SIZE];
	TDB_DATA value = { .dptr = discard_const(p), .dsize = length, };
	NTSTATUS status;

	status = dbwrap_store(f->db, rsvd_disk_key(&f->file_id, 'D', buf),
			      value, 0);
	assert_true(NT_STATUS_IS_OK(status));
}

/* What a PERSISTENT RESERVE OUT does, without its rules. */
struct registration {
	struct GUID initiator;
	uint64_t key;
	bool aptpl;
};

static NTSTATUS set_registration(struct scsi_state *state, bool *changed,
				 void *fn_data)
{
	const struct registration *r = fn_data;
	uint32_t i;

	for (i = 0; i < state->num_nexuses; i++) {
		if (GUID_equal(&state->nexuses[i].initiator_id,
			       &r->initiator))
		{
			state->nexuses[i].key = r->key;
			state->pr_generation += 1;
			state->aptpl = r->aptpl;
			*changed = true;
			return NT_STATUS_OK;
		}
	}

	return NT_STATUS_NOT_FOUND;
}

static void registers(struct rsvd_disk *disk, const struct GUID *initiator,
		      uint64_t key, bool aptpl)
{
	struct registration r = {
		.initiator = *initiator, .key = key, .aptpl = aptpl,
	};
	NTSTATUS status;

	status = rsvd_disk_scsi_update(disk, set_registration, &r);
	assert_true(NT_STATUS_IS_OK(status));
}

static uint64_t key_of(struct rsvd_disk *disk, const struct GUID *initiator)
{
	const struct scsi_state *state = rsvd_disk_scsi_state(disk, NULL);
	uint32_t i;

	if (state == NULL) {
		return 0;
	}
	for (i = 0; i < state->num_nexuses; i++) {
		if (GUID_equal(&state->nexuses[i].initiator_id, initiator)) {
			return state->nexuses[i].key;
		}
	}
	return 0;
}

static void an_open_is_seen_by_every_process(void **state)
{
	struct fixture *f = *state;
	struct server_id id = server_id_of(0);
	struct rsvd_disk_record *record = NULL;
	NTSTATUS status;

	assert_false(rsvd_disk_is_attached(f->process[1]));

	attach(f->process[0], 5, &initiator_1);

	assert_true(rsvd_disk_is_attached(f->process[1]));
	assert_true(rsvd_disk_has_open(f->process[1], &id, 5));
	assert_false(rsvd_disk_has_open(f->process[1], &id, 6));

	status = rsvd_disk_get(f->process[2], f, &record);
	assert_true(NT_STATUS_IS_OK(status));
	assert_int_equal(record->num_opens, 1);
	assert_int_equal(record->opens[0].open_id, 5);
	assert_true(server_id_equal(&record->opens[0].server_id, &id));
	assert_true(GUID_equal(&record->opens[0].initiator_id, &initiator_1));
	assert_string_equal(record->opens[0].host_name, "node");
	assert_string_equal(record->opens[0].client_address, "192.0.2.1");
	assert_string_equal(record->opens[0].user_name, "hyperv");
	assert_int_not_equal(record->opens[0].open_time, 0);
	assert_int_equal(record->scsi->num_nexuses, 1);
	assert_int_equal(record->scsi->nexuses[0].num_opens, 1);
}

static void the_last_close_leaves_no_record(void **state)
{
	struct fixture *f = *state;

	attach(f->process[0], 1, &initiator_1);
	attach(f->process[1], 1, &initiator_2);
	assert_true(has_record(f));

	assert_true(NT_STATUS_IS_OK(rsvd_disk_remove_open(f->process[0], 1)));
	assert_true(rsvd_disk_is_attached(f->process[0]));
	assert_true(NT_STATUS_IS_OK(rsvd_disk_remove_open(f->process[1], 1)));
	assert_false(rsvd_disk_is_attached(f->process[0]));
	assert_false(has_record(f));
}

static void closing_what_is_not_open_is_an_error(void **state)
{
	struct fixture *f = *state;

	attach(f->process[0], 1, &initiator_1);
	assert_true(NT_STATUS_EQUAL(rsvd_disk_remove_open(f->process[0], 2),
				    NT_STATUS_NOT_FOUND));
	assert_true(NT_STATUS_EQUAL(rsvd_disk_remove_open(f->process[1], 1),
				    NT_STATUS_NOT_FOUND));
	assert_true(rsvd_disk_is_attached(f->process[1]));
}

static void a_raw_open_of_a_shared_disk_is_refused(void **state)
{
	struct fixture *f = *state;
	struct rsvd_disk_open raw = raw_open(9);

	attach(f->process[0], 1, &initiator_1);
	assert_true(NT_STATUS_EQUAL(rsvd_disk_add_open(f->process[1], &raw),
				    NT_STATUS_VHD_SHARED));
}

static void a_raw_open_keeps_all_others_out(void **state)
{
	struct fixture *f = *state;
	struct rsvd_disk_open raw = raw_open(9);
	struct rsvd_disk_open shared = shared_open(1, &initiator_1);

	assert_true(NT_STATUS_IS_OK(rsvd_disk_add_open(f->process[0], &raw)));
	assert_true(NT_STATUS_EQUAL(rsvd_disk_add_open(f->process[1], &shared),
				    NT_STATUS_SHARING_VIOLATION));
	assert_true(NT_STATUS_EQUAL(rsvd_disk_add_open(f->process[1], &raw),
				    NT_STATUS_VHD_SHARED));

	assert_true(NT_STATUS_IS_OK(rsvd_disk_remove_open(f->process[0], 9)));
	assert_true(NT_STATUS_IS_OK(rsvd_disk_add_open(f->process[1],
						       &shared)));
}

static void the_opens_of_a_dead_process_do_not_count(void **state)
{
	struct fixture *f = *state;
	struct rsvd_disk_open raw = raw_open(9);
	struct rsvd_disk_record *record = NULL;
	NTSTATUS status;

	attach(f->process[0], 1, &initiator_1);
	attach(f->process[0], 2, &initiator_2);
	f->dead[0] = true;

	assert_false(rsvd_disk_is_attached(f->process[1]));
	assert_true(NT_STATUS_IS_OK(rsvd_disk_add_open(f->process[1], &raw)));

	status = rsvd_disk_get(f->process[2], f, &record);
	assert_true(NT_STATUS_IS_OK(status));
	assert_int_equal(record->num_opens, 1);
	assert_int_equal(record->scsi->num_nexuses, 0);
}

/* What SANITIZE does before its first block */
static NTSTATUS begin_sanitize(struct scsi_state *state, bool *changed,
			       void *fn_data)
{
	state->sanitize = SCSI_SANITIZE_RUNNING;
	*changed = true;
	return NT_STATUS_OK;
}

static void assert_sanitize(struct rsvd_disk *disk,
			    enum scsi_sanitize_state sanitize)
{
	const struct scsi_state *state = rsvd_disk_scsi_state(disk, NULL);

	assert_non_null(state);
	assert_int_equal(state->sanitize, sanitize);
}

static void a_sanitize_has_failed_when_its_process_has_died(void **state)
{
	struct fixture *f = *state;
	NTSTATUS status;

	attach(f->process[0], 1, &initiator_1);
	attach(f->process[1], 1, &initiator_2);
	status = rsvd_disk_scsi_update(f->process[0], begin_sanitize, NULL);
	assert_true(NT_STATUS_IS_OK(status));
	assert_sanitize(f->process[1], SCSI_SANITIZE_RUNNING);

	f->dead[0] = true;
	assert_sanitize(f->process[1], SCSI_SANITIZE_FAILED);
}

static void a_sanitize_has_failed_when_smbd_has_stopped(void **state)
{
	struct fixture *f = *state;
	NTSTATUS status;

	attach(f->process[0], 1, &initiator_1);
	status = rsvd_disk_scsi_update(f->process[0], begin_sanitize, NULL);
	assert_true(NT_STATUS_IS_OK(status));

	restart(f);
	attach(f->process[0], 1, &initiator_1);
	assert_sanitize(f->process[0], SCSI_SANITIZE_FAILED);
}

static void a_registration_outlives_the_open_and_the_process(void **state)
{
	struct fixture *f = *state;

	attach(f->process[0], 1, &initiator_1);
	registers(f->process[0], &initiator_1, 0xabc, false);
	attach(f->process[1], 1, &initiator_2);
	registers(f->process[1], &initiator_2, 0xdef, false);

	assert_true(NT_STATUS_IS_OK(rsvd_disk_remove_open(f->process[0], 1)));
	f->dead[1] = true;

	assert_false(rsvd_disk_is_attached(f->process[2]));
	assert_int_equal(key_of(f->process[2], &initiator_1), 0xabc);
	assert_int_equal(key_of(f->process[2], &initiator_2), 0xdef);
}

static void a_registration_outlives_smbd(void **state)
{
	struct fixture *f = *state;

	attach(f->process[0], 1, &initiator_1);
	registers(f->process[0], &initiator_1, 0xabc, false);

	restart(f);

	attach(f->process[1], 1, &initiator_2);
	assert_int_equal(key_of(f->process[1], &initiator_1), 0xabc);
}

static void without_aptpl_a_registration_ends_with_the_power(void **state)
{
	struct fixture *f = *state;

	attach(f->process[0], 1, &initiator_1);
	registers(f->process[0], &initiator_1, 0xabc, false);

	f->boot_id.time_low += 1;
	restart(f);

	attach(f->process[1], 1, &initiator_2);
	assert_int_equal(key_of(f->process[1], &initiator_1), 0);
}

static void with_aptpl_a_registration_outlives_a_loss_of_power(void **state)
{
	struct fixture *f = *state;

	attach(f->process[0], 1, &initiator_1);
	registers(f->process[0], &initiator_1, 0xabc, true);

	f->boot_id.time_low += 1;
	restart(f);

	attach(f->process[1], 1, &initiator_2);
	assert_int_equal(key_of(f->process[1], &initiator_1), 0xabc);
}

static void a_removed_registration_does_not_come_back(void **state)
{
	struct fixture *f = *state;

	attach(f->process[0], 1, &initiator_1);
	registers(f->process[0], &initiator_1, 0xabc, true);
	registers(f->process[0], &initiator_1, 0, true);

	restart(f);

	attach(f->process[1], 1, &initiator_1);
	assert_int_equal(key_of(f->process[1], &initiator_1), 0);
}

static void reservations_follow_the_image_to_another_device_number(
	void **state)
{
	struct fixture *f = *state;

	attach(f->process[0], 1, &initiator_1);
	registers(f->process[0], &initiator_1, 0xabc, true);

	f->file_id.devid += 1;
	restart(f);

	attach(f->process[1], 1, &initiator_2);
	assert_int_equal(key_of(f->process[1], &initiator_1), 0xabc);
}

static void another_disk_has_other_reservations(void **state)
{
	struct fixture *f = *state;

	attach(f->process[0], 1, &initiator_1);
	registers(f->process[0], &initiator_1, 0xabc, true);

	f->disk_id.time_low += 1;
	restart(f);

	attach(f->process[1], 1, &initiator_1);
	assert_int_equal(key_of(f->process[1], &initiator_1), 0);
}

static void a_new_image_in_the_file_has_other_reservations(void **state)
{
	struct fixture *f = *state;

	attach(f->process[0], 1, &initiator_1);
	registers(f->process[0], &initiator_1, 0xabc, true);
	assert_true(NT_STATUS_IS_OK(rsvd_disk_remove_open(f->process[0], 1)));

	/* rsvd.tdb keeps its record. */
	f->disk_id.time_low += 1;
	rsvd_disk_set_persistent(f->process[1], f->reservations_db,
				 &f->disk_id, &f->boot_id);

	attach(f->process[1], 1, &initiator_2);
	assert_int_equal(key_of(f->process[1], &initiator_1), 0);
}

static void a_raw_open_that_died_hides_no_reservation(void **state)
{
	struct fixture *f = *state;
	struct rsvd_disk_open raw = raw_open(9);

	attach(f->process[0], 1, &initiator_1);
	registers(f->process[0], &initiator_1, 0xabc, true);
	restart(f);

	/* It knows no VirtualDiskId, and no reservations. */
	TALLOC_FREE(f->process[1]);
	f->process[1] = rsvd_disk_init(f, f->db, &f->file_id,
				       server_id_of(1), is_alive, f);
	assert_true(NT_STATUS_IS_OK(rsvd_disk_add_open(f->process[1], &raw)));
	f->dead[1] = true;

	attach(f->process[2], 1, &initiator_2);
	assert_int_equal(key_of(f->process[2], &initiator_1), 0xabc);
}

static NTSTATUS fail_after_change(struct scsi_state *state, bool *changed,
				  void *fn_data)
{
	state->pr_generation += 100;
	*changed = true;
	return NT_STATUS_ACCESS_DENIED;
}

static void a_change_that_fails_changes_nothing(void **state)
{
	struct fixture *f = *state;
	NTSTATUS status;

	attach(f->process[0], 1, &initiator_1);
	status = rsvd_disk_scsi_update(f->process[0], fail_after_change, NULL);
	assert_true(NT_STATUS_EQUAL(status, NT_STATUS_ACCESS_DENIED));
	assert_int_equal(rsvd_disk_scsi_state(f->process[1],
					      NULL)->pr_generation, 0);
}

static void an_unchanged_record_is_not_parsed_again(void **state)
{
	struct fixture *f = *state;
	const struct scsi_state *first = NULL;
	uint64_t generation = 0, other = 0;
	uint8_t buf[RSVD_DISK_KEY_SIZE];
	uint8_t anything[100] = {0};
	TDB_DATA value = { .dptr = anything, .dsize = sizeof(anything), };
	TDB_DATA key;

	attach(f->process[0], 1, &initiator_1);
	first = rsvd_disk_scsi_state(f->process[1], &generation);
	assert_ptr_equal(rsvd_disk_scsi_state(f->process[1], &other), first);
	assert_int_equal(generation, other);

	/* Nor when it is the engine that changed its own record. */
	key = rsvd_disk_key(&f->file_id, 'M', buf);
	assert_true(NT_STATUS_IS_OK(dbwrap_store(f->db, key, value, 0)));
	assert_ptr_equal(rsvd_disk_scsi_state(f->process[1], &other), first);
	assert_int_equal(generation, other);

	registers(f->process[0], &initiator_1, 1, false);
	assert_int_equal(key_of(f->process[1], &initiator_1), 1);
	rsvd_disk_scsi_state(f->process[1], &other);
	assert_int_not_equal(generation, other);
}

static void a_record_of_another_version_is_refused_and_kept(void **state)
{
	struct fixture *f = *state;
	struct rsvd_disk_open open = shared_open(1, &initiator_1);
	struct rsvd_disk_record *record = rsvd_record_init(f);
	uint8_t buf[RSVD_DISK_KEY_SIZE];
	DATA_BLOB blob;
	TDB_DATA value;
	NTSTATUS status;

	debug_set_callback(NULL, silence);
	record->version = 2;
	status = rsvd_record_push(f, record, &blob);
	assert_true(NT_STATUS_IS_OK(status));
	store_record(f, blob.data, blob.length);

	status = rsvd_disk_add_open(f->process[0], &open);
	assert_true(NT_STATUS_EQUAL(status,
				    NT_STATUS_INTERNAL_DB_CORRUPTION));
	assert_null(rsvd_disk_scsi_state(f->process[0], NULL));
	/* Whoever wrote it may have the disk. */
	assert_true(rsvd_disk_is_attached(f->process[0]));

	status = dbwrap_fetch(f->db, f, rsvd_disk_key(&f->file_id, 'D', buf),
			      &value);
	assert_true(NT_STATUS_IS_OK(status));
	assert_int_equal(value.dsize, blob.length);
	assert_memory_equal(value.dptr, blob.data, blob.length);
}

static void a_record_cut_anywhere_is_refused(void **state)
{
	struct fixture *f = *state;
	struct rsvd_disk_open open = shared_open(2, &initiator_2);
	struct rsvd_disk_record *record = NULL;
	DATA_BLOB blob;
	NTSTATUS status;
	size_t length;

	attach(f->process[0], 1, &initiator_1);
	registers(f->process[0], &initiator_1, 0xabc, true);
	status = rsvd_disk_get(f->process[0], f, &record);
	assert_true(NT_STATUS_IS_OK(status));
	status = rsvd_record_push(f, record, &blob);
	assert_true(NT_STATUS_IS_OK(status));

	debug_set_callback(NULL, silence);
	for (length = 1; length < blob.length; length++) {
		store_record(f, blob.data, length);
		status = rsvd_disk_add_open(f->process[1], &open);
		assert_true(NT_STATUS_EQUAL(
			status, NT_STATUS_INTERNAL_DB_CORRUPTION));
	}
}

static void a_record_that_got_lost_is_put_back(void **state)
{
	struct fixture *f = *state;
	struct server_id id = server_id_of(0);

	attach(f->process[0], 1, &initiator_1);
	registers(f->process[0], &initiator_1, 0xabc, false);
	attach(f->process[1], 2, &initiator_2);

	dbwrap_wipe(f->db);

	assert_int_equal(key_of(f->process[0], &initiator_1), 0xabc);
	assert_true(rsvd_disk_has_open(f->process[1], &id, 1));
	id = server_id_of(1);
	assert_true(rsvd_disk_has_open(f->process[0], &id, 2));
}

static void no_open_is_added_beyond_the_limit(void **state)
{
	struct fixture *f = *state;
	struct GUID initiator = initiator_1;
	NTSTATUS status = NT_STATUS_OK;
	uint64_t i;

	for (i = 0; NT_STATUS_IS_OK(status); i++) {
		struct rsvd_disk_open open;

		initiator.time_low = i + 1;
		open = shared_open(i, &initiator);
		status = rsvd_disk_add_open(f->process[0], &open);
		assert_true(i <= SCSI_MAX_NEXUSES);
	}

	assert_true(NT_STATUS_EQUAL(status,
				    NT_STATUS_INSUFFICIENT_RESOURCES));
	assert_true(rsvd_disk_is_attached(f->process[1]));
}

#define CHANGES_AT_ONCE 200

static void processes_that_change_at_once_lose_nothing(void **state)
{
	struct fixture *f = *state;
	pid_t pids[NUM_PROCESSES];
	int i, j;

	for (i = 0; i < NUM_PROCESSES; i++) {
		struct GUID initiator = { .time_low = 1 + i, };

		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] != 0) {
			continue;
		}

		attach(f->process[i], 0, &initiator);
		for (j = 1; j <= CHANGES_AT_ONCE; j++) {
			attach(f->process[i], j, &initiator);
			registers(f->process[i], &initiator, j, true);
			rsvd_disk_remove_open(f->process[i], j);
		}
		_exit(0);
	}
	for (i = 0; i < NUM_PROCESSES; i++) {
		int status = -1;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}

	for (i = 0; i < NUM_PROCESSES; i++) {
		struct GUID initiator = { .time_low = 1 + i, };
		struct server_id id = server_id_of(i);

		assert_int_equal(key_of(f->process[0], &initiator),
				 CHANGES_AT_ONCE);
		assert_true(rsvd_disk_has_open(f->process[0], &id, 0));
	}
	assert_int_equal(
		rsvd_disk_scsi_state(f->process[0], NULL)->pr_generation,
		NUM_PROCESSES * CHANGES_AT_ONCE);
}

/*
 * The change is a new key in the place of an old one, so that there is an old
 * state to be left. After each death the record that the others see, and what
 * a restart finds, must be the same.
 */
static void a_process_killed_at_any_write_leaves_the_old_or_the_new_key(
	void **state)
{
	struct fixture *f = *state;
	bool seen_old = false, seen_new = false, done = false;
	int n;

	for (n = 0; !done; n++) {
		uint64_t key, key_after_restart;
		int status = -1;
		pid_t pid;

		attach(f->process[0], 1, &initiator_1);
		registers(f->process[0], &initiator_1, 0x01d, true);

		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			/* tdb lets go of the locks of its parent. */
			writes_to_live = n;
			attach(f->process[1], 7, &initiator_2);
			registers(f->process[1], &initiator_1, 0x11e3, true);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		done = WIFEXITED(status);
		f->dead[1] = true;

		key = key_of(f->process[0], &initiator_1);
		seen_old |= (key == 0x01d);
		seen_new |= (key == 0x11e3);
		assert_true(key == 0x01d || key == 0x11e3);
		assert_int_equal(key_of(f->process[2], &initiator_1), key);

		restart(f);
		attach(f->process[2], 1, &initiator_2);
		key_after_restart = key_of(f->process[2], &initiator_1);
		assert_int_equal(key_after_restart, key);
		restart(f);
	}

	assert_true(n > 10);
	assert_true(seen_old && seen_new);
}

#define rsvd_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		rsvd_test(an_open_is_seen_by_every_process),
		rsvd_test(the_last_close_leaves_no_record),
		rsvd_test(closing_what_is_not_open_is_an_error),
		rsvd_test(a_raw_open_of_a_shared_disk_is_refused),
		rsvd_test(a_raw_open_keeps_all_others_out),
		rsvd_test(the_opens_of_a_dead_process_do_not_count),
		rsvd_test(a_sanitize_has_failed_when_its_process_has_died),
		rsvd_test(a_sanitize_has_failed_when_smbd_has_stopped),
		rsvd_test(a_registration_outlives_the_open_and_the_process),
		rsvd_test(a_registration_outlives_smbd),
		rsvd_test(without_aptpl_a_registration_ends_with_the_power),
		rsvd_test(with_aptpl_a_registration_outlives_a_loss_of_power),
		rsvd_test(a_removed_registration_does_not_come_back),
		rsvd_test(
		reservations_follow_the_image_to_another_device_number),
		rsvd_test(another_disk_has_other_reservations),
		rsvd_test(a_new_image_in_the_file_has_other_reservations),
		rsvd_test(a_raw_open_that_died_hides_no_reservation),
		rsvd_test(a_change_that_fails_changes_nothing),
		rsvd_test(an_unchanged_record_is_not_parsed_again),
		rsvd_test(a_record_of_another_version_is_refused_and_kept),
		rsvd_test(a_record_cut_anywhere_is_refused),
		rsvd_test(a_record_that_got_lost_is_put_back),
		rsvd_test(no_open_is_added_beyond_the_limit),
		rsvd_test(processes_that_change_at_once_lose_nothing),
		rsvd_test(
		a_process_killed_at_any_write_leaves_the_old_or_the_new_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
