/*
 * vfs_rsvd: one shared virtual disk, as all smbd processes see it
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "system/time.h"
#include "lib/util/byteorder.h"
#include "lib/util/debug.h"
#include "lib/util/server_id.h"
#include "lib/util/time.h"
#include "librpc/ndr/libndr.h"
#include "librpc/gen_ndr/ndr_misc.h"
#include "modules/rsvd/rsvd_disk.h"
#include "modules/rsvd/rsvd_record.h"

/* inode, extid, VirtualDiskId */
#define RSVD_RESERVATIONS_KEY_SIZE 32

struct rsvd_disk {
	struct db_context *db;
	uint8_t key_buf[RSVD_DISK_KEY_SIZE];
	TDB_DATA key;
	struct file_id id;

	struct server_id self;
	rsvd_disk_alive_fn alive;
	void *alive_private_data;

	struct db_context *reservations_db;
	uint8_t reservations_key_buf[RSVD_RESERVATIONS_KEY_SIZE];
	TDB_DATA reservations_key;
	struct GUID disk_id;
	struct GUID boot_id;
	bool has_boot_id;

	rsvd_disk_fence_fn fence;
	void *fence_private_data;

	/*
	 * The opens that were added here. tdb replaces a record that grows by
	 * deleting it first: should another process be killed between the
	 * two, ours are put back.
	 */
	struct rsvd_disk_open **own;
	size_t num_own;

	/* What was last read, as stored and parsed. */
	struct rsvd_disk_record *cache;
	DATA_BLOB cache_blob;
	int cache_seqnum;
	uint64_t cache_generation;
};

typedef NTSTATUS (*rsvd_disk_change_fn)(struct rsvd_disk_record *record,
					bool *changed, void *private_data);

static NTSTATUS rsvd_disk_change(struct rsvd_disk *disk,
				 rsvd_disk_change_fn fn, void *private_data);

TDB_DATA rsvd_disk_key(const struct file_id *id, char kind,
		       uint8_t buf[RSVD_DISK_KEY_SIZE])
{
	SBVAL(buf, 0, id->devid);
	SBVAL(buf, 8, id->inode);
	SBVAL(buf, 16, id->extid);
	buf[24] = kind;

	return (TDB_DATA) { .dptr = buf, .dsize = RSVD_DISK_KEY_SIZE, };
}

struct rsvd_disk *rsvd_disk_init(TALLOC_CTX *mem_ctx, struct db_context *db,
				 const struct file_id *id,
				 struct server_id self,
				 rsvd_disk_alive_fn alive, void *private_data)
{
	struct rsvd_disk *disk = NULL;

	disk = talloc_zero(mem_ctx, struct rsvd_disk);
	if (disk == NULL) {
		return NULL;
	}
	disk->db = db;
	disk->id = *id;
	disk->key = rsvd_disk_key(id, 'D', disk->key_buf);
	disk->self = self;
	disk->alive = alive;
	disk->alive_private_data = private_data;

	return disk;
}

void rsvd_disk_set_persistent(struct rsvd_disk *disk, struct db_context *db,
			      const struct GUID *disk_id,
			      const struct GUID *boot_id)
{
	struct GUID_ndr_buf guid = { .buf = {0}, };
	uint8_t *buf = disk->reservations_key_buf;

	GUID_to_ndr_buf(disk_id, &guid);
	SBVAL(buf, 0, disk->id.inode);
	SBVAL(buf, 8, disk->id.extid);
	memcpy(buf + 16, guid.buf, sizeof(guid.buf));

	disk->reservations_key = (TDB_DATA) {
		.dptr = buf, .dsize = RSVD_RESERVATIONS_KEY_SIZE,
	};
	disk->reservations_db = db;
	disk->disk_id = *disk_id;
	disk->has_boot_id = (boot_id != NULL);
	if (disk->has_boot_id) {
		disk->boot_id = *boot_id;
	}
}

const struct file_id *rsvd_disk_file_id(const struct rsvd_disk *disk)
{
	return &disk->id;
}

void rsvd_disk_set_fence(struct rsvd_disk *disk, rsvd_disk_fence_fn fence,
			 void *private_data)
{
	disk->fence = fence;
	disk->fence_private_data = private_data;
}

NTSTATUS rsvd_disk_fence(struct rsvd_disk *disk, const struct GUID *initiators,
			 size_t num_initiators)
{
	if (disk->fence == NULL) {
		return NT_STATUS_OK;
	}

	return disk->fence(initiators, num_initiators,
			   disk->fence_private_data);
}

static bool rsvd_disk_open_is_alive(struct rsvd_disk *disk,
				    const struct rsvd_disk_open *open)
{
	if (server_id_equal(&open->server_id, &disk->self)) {
		return true;
	}

	return disk->alive(&open->server_id, disk->alive_private_data);
}

/* Without an initiator, or below the disk, an open is no I_T nexus. */
static bool rsvd_disk_open_is_nexus(const struct rsvd_disk_open *open)
{
	return !open->raw && !GUID_all_zero(&open->initiator_id);
}

static bool rsvd_disk_find_open(const struct rsvd_disk_record *record,
				const struct server_id *pid, uint64_t open_id,
				uint32_t *idx)
{
	uint32_t i;

	for (i = 0; i < record->num_opens; i++) {
		const struct rsvd_disk_open *open = &record->opens[i];

		if ((open->open_id == open_id) &&
		    server_id_equal(&open->server_id, pid))
		{
			*idx = i;
			return true;
		}
	}

	return false;
}

static NTSTATUS rsvd_disk_record_add(struct rsvd_disk_record *record,
				     const struct rsvd_disk_open *open)
{
	struct rsvd_disk_open *opens = NULL;
	struct rsvd_disk_open *entry = NULL;
	NTSTATUS status;

	if (record->num_opens >= RSVD_DISK_MAX_OPENS) {
		return NT_STATUS_INSUFFICIENT_RESOURCES;
	}

	if (rsvd_disk_open_is_nexus(open)) {
		status = scsi_state_nexus_add(record->scsi,
					      &open->initiator_id,
					      open->host_name);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}

	opens = talloc_realloc(record, record->opens, struct rsvd_disk_open,
			       record->num_opens + 1);
	if (opens == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	record->opens = opens;

	/* The strings stay the caller's, the record is stored before they go */
	entry = &opens[record->num_opens];
	*entry = *open;
	record->num_opens += 1;

	return NT_STATUS_OK;
}

static void rsvd_disk_record_remove(struct rsvd_disk_record *record,
				    uint32_t idx)
{
	const struct rsvd_disk_open *open = &record->opens[idx];

	if (rsvd_disk_open_is_nexus(open)) {
		scsi_state_nexus_remove(record->scsi, &open->initiator_id);
	}

	record->num_opens -= 1;
	record->opens[idx] = record->opens[record->num_opens];
}

static void rsvd_disk_record_drop_dead(struct rsvd_disk *disk,
				       struct rsvd_disk_record *record,
				       bool *changed)
{
	uint32_t i = 0;

	while (i < record->num_opens) {
		const struct rsvd_disk_open *open = &record->opens[i];
		struct server_id_buf buf;

		if (rsvd_disk_open_is_alive(disk, open)) {
			i += 1;
			continue;
		}

		DBG_NOTICE("Process %s died with open %"PRIu64"\n",
			   server_id_str_buf(open->server_id, &buf),
			   open->open_id);
		rsvd_disk_record_remove(record, i);
		scsi_state_process_died(record->scsi);
		*changed = true;
	}
}

static NTSTATUS rsvd_disk_record_restore_own(struct rsvd_disk *disk,
					     struct rsvd_disk_record *record,
					     bool *changed)
{
	size_t i;

	for (i = 0; i < disk->num_own; i++) {
		const struct rsvd_disk_open *open = disk->own[i];
		NTSTATUS status;
		uint32_t idx;

		if (rsvd_disk_find_open(record, &open->server_id,
					open->open_id, &idx))
		{
			continue;
		}

		DBG_WARNING("Open %"PRIu64" got lost, putting it back\n",
			    open->open_id);
		status = rsvd_disk_record_add(record, open);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		*changed = true;
	}

	return NT_STATUS_OK;
}

/*
 * The SCSI state from the persistent database, with the opens of the record
 * counted. What is in the record is given up.
 */
static NTSTATUS rsvd_disk_record_load_scsi(struct rsvd_disk *disk,
					   struct rsvd_disk_record *record)
{
	struct scsi_state *state = NULL;
	TDB_DATA value = { .dsize = 0, };
	NTSTATUS status;
	uint32_t i;

	status = dbwrap_fetch(disk->reservations_db, record,
			      disk->reservations_key, &value);
	if (NT_STATUS_EQUAL(status, NT_STATUS_NOT_FOUND)) {
		state = scsi_state_init(record);
		if (state == NULL) {
			return NT_STATUS_NO_MEMORY;
		}
	} else if (NT_STATUS_IS_OK(status)) {
		DATA_BLOB blob = {
			.data = value.dptr, .length = value.dsize,
		};

		status = rsvd_reservations_pull(record, blob, disk->has_boot_id
						? &disk->boot_id : NULL,
						&state);
		TALLOC_FREE(value.dptr);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	} else {
		return status;
	}

	for (i = 0; i < record->num_opens; i++) {
		const struct rsvd_disk_open *open = &record->opens[i];

		if (!rsvd_disk_open_is_nexus(open)) {
			continue;
		}
		status = scsi_state_nexus_add(state, &open->initiator_id,
					      open->host_name);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}

	TALLOC_FREE(record->scsi);
	record->scsi = state;
	record->disk_id = disk->disk_id;
	record->flags &= ~RSVD_DISK_SCSI_STALE;
	return NT_STATUS_OK;
}

/*
 * Must the SCSI state be read from the persistent database first? After a new
 * image was put into a file, what is known is about the old one.
 */
static bool rsvd_disk_record_is_stale(const struct rsvd_disk *disk,
				      const struct rsvd_disk_record *record)
{
	if (disk->reservations_db == NULL) {
		return false;
	}

	return (record->flags & RSVD_DISK_SCSI_STALE) ||
	       !GUID_equal(&record->disk_id, &disk->disk_id);
}

static NTSTATUS rsvd_disk_record_load(struct rsvd_disk *disk,
				      TALLOC_CTX *mem_ctx, TDB_DATA value,
				      struct rsvd_disk_record **_record,
				      bool *changed)
{
	struct rsvd_disk_record *record = NULL;
	NTSTATUS status;

	if (value.dsize == 0) {
		record = rsvd_record_init(mem_ctx);
		if (record == NULL) {
			return NT_STATUS_NO_MEMORY;
		}
		record->flags |= RSVD_DISK_SCSI_STALE;
	} else {
		status = rsvd_record_pull(mem_ctx,
					  data_blob_const(value.dptr,
							  value.dsize),
					  &record);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}

	if (rsvd_disk_record_is_stale(disk, record)) {
		status = rsvd_disk_record_load_scsi(disk, record);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		*changed = (value.dsize != 0);
	}

	*_record = record;
	return NT_STATUS_OK;
}

static NTSTATUS rsvd_disk_record_store(struct db_record *rec,
				       TALLOC_CTX *mem_ctx,
				       const struct rsvd_disk_record *record)
{
	DATA_BLOB blob = { .length = 0, };
	NTSTATUS status;

	if (rsvd_record_is_empty(record)) {
		status = dbwrap_record_delete(rec);
		if (NT_STATUS_EQUAL(status, NT_STATUS_NOT_FOUND)) {
			return NT_STATUS_OK;
		}
		return status;
	}

	status = rsvd_record_push(mem_ctx, record, &blob);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	return dbwrap_record_store(
		rec,
		(TDB_DATA) { .dptr = blob.data, .dsize = blob.length, },
		0);
}

/*
 * Bring changed reservations to stable storage, with the lock on the record
 * held.
 *
 * First the record is marked: from then on until the caller stores the new
 * one, what is in the persistent database holds. A process that is killed
 * before the transaction is through leaves the old reservations, after it the
 * new ones, and either way the next one to look at the record finds them
 * there (rsvd_disk_record_load).
 */
static NTSTATUS rsvd_disk_commit_reservations(struct rsvd_disk *disk,
					      TALLOC_CTX *mem_ctx,
					      struct db_record *rec,
					      TDB_DATA old_value,
					      DATA_BLOB reservations)
{
	struct rsvd_disk_record *old = NULL;
	NTSTATUS status;

	if (old_value.dsize != 0) {
		status = rsvd_record_pull(mem_ctx,
					  data_blob_const(old_value.dptr,
							  old_value.dsize),
					  &old);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		old->flags |= RSVD_DISK_SCSI_STALE;

		status = rsvd_disk_record_store(rec, mem_ctx, old);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}

	if (reservations.length == 0) {
		status = dbwrap_trans_delete(disk->reservations_db,
					     disk->reservations_key);
		if (NT_STATUS_EQUAL(status, NT_STATUS_NOT_FOUND)) {
			status = NT_STATUS_OK;
		}
	} else {
		status = dbwrap_trans_store(disk->reservations_db,
					    disk->reservations_key,
					    (TDB_DATA) {
						.dptr = reservations.data,
						.dsize = reservations.length,
					    },
					    0);
	}
	if (!NT_STATUS_IS_OK(status)) {
		/*
		 * Whether any of it got through is for the next one to
		 * find out, the mark is still set.
		 */
		DBG_ERR("Could not store reservations in %s: %s\n",
			dbwrap_name(disk->reservations_db),
			nt_errstr(status));
	}

	return status;
}

struct rsvd_disk_change_state {
	struct rsvd_disk *disk;
	rsvd_disk_change_fn fn;
	void *private_data;
	TALLOC_CTX *mem_ctx;
	NTSTATUS status;
};

static NTSTATUS rsvd_disk_change_record(struct rsvd_disk_change_state *state,
					struct db_record *rec, TDB_DATA value)
{
	struct rsvd_disk *disk = state->disk;
	TALLOC_CTX *mem_ctx = state->mem_ctx;
	struct rsvd_disk_record *record = NULL;
	const struct GUID *boot_id = disk->has_boot_id ? &disk->boot_id : NULL;
	DATA_BLOB before = { .length = 0, };
	DATA_BLOB after = { .length = 0, };
	bool changed = false;
	NTSTATUS status;

	status = rsvd_disk_record_load(disk, mem_ctx, value, &record,
				       &changed);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	if (disk->reservations_db != NULL) {
		status = rsvd_reservations_push(mem_ctx, record->scsi,
						boot_id, &before);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}

	rsvd_disk_record_drop_dead(disk, record, &changed);

	status = rsvd_disk_record_restore_own(disk, record, &changed);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	if (state->fn != NULL) {
		status = state->fn(record, &changed, state->private_data);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}

	if (!changed) {
		return NT_STATUS_OK;
	}

	if (disk->reservations_db != NULL) {
		status = rsvd_reservations_push(mem_ctx, record->scsi,
						boot_id, &after);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (data_blob_cmp(&before, &after) != 0) {
			status = rsvd_disk_commit_reservations(
				disk, mem_ctx, rec, value, after);
			if (!NT_STATUS_IS_OK(status)) {
				return status;
			}
		}
	}

	return rsvd_disk_record_store(rec, mem_ctx, record);
}

static void rsvd_disk_change_locked(struct db_record *rec, TDB_DATA value,
				    void *private_data)
{
	struct rsvd_disk_change_state *state = private_data;

	state->status = rsvd_disk_change_record(state, rec, value);
}

/*
 * Everything that changes the record comes through here. fn sees it without
 * the entries of the dead; it stays as it was if fn fails or changes nothing.
 */
static NTSTATUS rsvd_disk_change(struct rsvd_disk *disk,
				 rsvd_disk_change_fn fn, void *private_data)
{
	struct rsvd_disk_change_state state = {
		.disk = disk,
		.fn = fn,
		.private_data = private_data,
		.status = NT_STATUS_INTERNAL_ERROR,
	};
	NTSTATUS status;

	state.mem_ctx = talloc_new(disk);
	if (state.mem_ctx == NULL) {
		return NT_STATUS_NO_MEMORY;
	}

	status = dbwrap_do_locked(disk->db, disk->key,
				  rsvd_disk_change_locked, &state);
	TALLOC_FREE(state.mem_ctx);
	if (!NT_STATUS_IS_OK(status)) {
		DBG_ERR("dbwrap_do_locked on %s failed: %s\n",
			dbwrap_name(disk->db),
			nt_errstr(status));
		return status;
	}

	return state.status;
}

static NTSTATUS rsvd_disk_add_open_fn(struct rsvd_disk_record *record,
				      bool *changed, void *private_data)
{
	const struct rsvd_disk_open *open = private_data;
	uint32_t i;

	if (open->raw && (record->num_opens != 0)) {
		return NT_STATUS_VHD_SHARED;
	}

	for (i = 0; i < record->num_opens; i++) {
		if (record->opens[i].raw) {
			return NT_STATUS_SHARING_VIOLATION;
		}
	}

	*changed = true;
	return rsvd_disk_record_add(record, open);
}

static const char *rsvd_disk_strdup(TALLOC_CTX *mem_ctx, const char *s)
{
	return talloc_strdup(mem_ctx, s != NULL ? s : "");
}

static struct rsvd_disk_open *rsvd_disk_open_copy(
	TALLOC_CTX *mem_ctx, const struct rsvd_disk_open *open)
{
	struct rsvd_disk_open *copy = NULL;

	copy = talloc(mem_ctx, struct rsvd_disk_open);
	if (copy == NULL) {
		return NULL;
	}
	*copy = *open;
	copy->host_name = rsvd_disk_strdup(copy, open->host_name);
	copy->client_address = rsvd_disk_strdup(copy, open->client_address);
	copy->user_name = rsvd_disk_strdup(copy, open->user_name);

	if ((copy->host_name == NULL) || (copy->client_address == NULL) ||
	    (copy->user_name == NULL))
	{
		TALLOC_FREE(copy);
		return NULL;
	}

	return copy;
}

NTSTATUS rsvd_disk_add_open(struct rsvd_disk *disk,
			    const struct rsvd_disk_open *open)
{
	struct rsvd_disk_open **own = NULL;
	struct rsvd_disk_open *entry = NULL;
	NTSTATUS status;

	own = talloc_realloc(disk, disk->own, struct rsvd_disk_open *,
			     disk->num_own + 1);
	if (own == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	disk->own = own;

	entry = rsvd_disk_open_copy(own, open);
	if (entry == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	entry->server_id = disk->self;
	if (entry->open_time == 0) {
		struct timeval now = timeval_current();

		entry->open_time = timeval_to_nttime(&now);
	}

	status = rsvd_disk_change(disk, rsvd_disk_add_open_fn, entry);
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(entry);
		return status;
	}

	/* Only now is it one that must not get lost. */
	own[disk->num_own] = entry;
	disk->num_own += 1;
	return NT_STATUS_OK;
}

struct rsvd_disk_remove_open_state {
	struct server_id self;
	uint64_t open_id;
};

static NTSTATUS rsvd_disk_remove_open_fn(struct rsvd_disk_record *record,
					 bool *changed, void *private_data)
{
	const struct rsvd_disk_remove_open_state *state = private_data;
	uint32_t idx;

	if (!rsvd_disk_find_open(record, &state->self, state->open_id, &idx)) {
		return NT_STATUS_NOT_FOUND;
	}

	rsvd_disk_record_remove(record, idx);
	*changed = true;
	return NT_STATUS_OK;
}

NTSTATUS rsvd_disk_remove_open(struct rsvd_disk *disk, uint64_t open_id)
{
	struct rsvd_disk_remove_open_state state = {
		.self = disk->self, .open_id = open_id,
	};
	size_t i;

	for (i = 0; i < disk->num_own; i++) {
		if (disk->own[i]->open_id == open_id) {
			TALLOC_FREE(disk->own[i]);
			disk->num_own -= 1;
			disk->own[i] = disk->own[disk->num_own];
			break;
		}
	}

	return rsvd_disk_change(disk, rsvd_disk_remove_open_fn, &state);
}

struct rsvd_disk_refresh_state {
	struct rsvd_disk *disk;
	NTSTATUS status;
};

static void rsvd_disk_refresh_parser(TDB_DATA key, TDB_DATA value,
				     void *private_data)
{
	struct rsvd_disk_refresh_state *state = private_data;
	struct rsvd_disk *disk = state->disk;
	struct rsvd_disk_record *record = NULL;
	DATA_BLOB blob = { .data = value.dptr, .length = value.dsize, };

	/*
	 * Another record of the database has changed: while blocks are
	 * allocated, the engine's does all the time.
	 */
	if ((disk->cache != NULL) &&
	    (data_blob_cmp(&disk->cache_blob, &blob) == 0))
	{
		state->status = NT_STATUS_OK;
		return;
	}

	state->status = rsvd_record_pull(disk, blob, &record);
	if (!NT_STATUS_IS_OK(state->status)) {
		return;
	}

	blob = data_blob_talloc(record, blob.data, blob.length);
	if (blob.data == NULL) {
		TALLOC_FREE(record);
		state->status = NT_STATUS_NO_MEMORY;
		return;
	}

	TALLOC_FREE(disk->cache);
	disk->cache = record;
	disk->cache_blob = blob;
	disk->cache_generation += 1;
}

static NTSTATUS rsvd_disk_fetch(struct rsvd_disk *disk)
{
	struct rsvd_disk_refresh_state state = { .disk = disk, };
	NTSTATUS status;

	status = dbwrap_parse_record(disk->db, disk->key,
				     rsvd_disk_refresh_parser, &state);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	return state.status;
}

/* Nothing in the record calls for a change before it can be used. */
static bool rsvd_disk_cache_is_settled(const struct rsvd_disk *disk)
{
	size_t i;

	if (rsvd_disk_record_is_stale(disk, disk->cache)) {
		return false;
	}

	for (i = 0; i < disk->num_own; i++) {
		uint32_t idx;

		if (!rsvd_disk_find_open(disk->cache, &disk->self,
					 disk->own[i]->open_id, &idx))
		{
			return false;
		}
	}

	return true;
}

/*
 * Make disk->cache what is stored. With nothing changed since the last time
 * this is a look at one word of shared memory.
 *
 * @return NT_STATUS_NOT_FOUND  there is no record
 */
static NTSTATUS rsvd_disk_refresh(struct rsvd_disk *disk)
{
	/*
	 * Asked for before the record is read: a change in between is then
	 * seen the next time. Zero is "unknown".
	 */
	int seqnum = dbwrap_get_seqnum(disk->db);
	NTSTATUS status;

	if ((disk->cache != NULL) && (seqnum != 0) &&
	    (seqnum == disk->cache_seqnum))
	{
		return NT_STATUS_OK;
	}

	status = rsvd_disk_fetch(disk);

	if ((NT_STATUS_IS_OK(status) && !rsvd_disk_cache_is_settled(disk)) ||
	    (NT_STATUS_EQUAL(status, NT_STATUS_NOT_FOUND) &&
	     (disk->num_own != 0)))
	{
		/*
		 * Somebody is writing reservations, or died doing so. The
		 * first lets us have the lock when done, and in both cases
		 * we find it in order then.
		 */
		status = rsvd_disk_change(disk, NULL, NULL);
		if (NT_STATUS_IS_OK(status)) {
			seqnum = dbwrap_get_seqnum(disk->db);
			status = rsvd_disk_fetch(disk);
		}
	}

	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(disk->cache);
		disk->cache_generation += 1;
		return status;
	}

	disk->cache_seqnum = seqnum;
	return NT_STATUS_OK;
}

bool rsvd_disk_is_attached(struct rsvd_disk *disk)
{
	NTSTATUS status;
	uint32_t i;

	status = rsvd_disk_refresh(disk);
	if (NT_STATUS_EQUAL(status, NT_STATUS_NOT_FOUND)) {
		return false;
	}
	if (!NT_STATUS_IS_OK(status)) {
		/* We do not know, and a wrong no costs the disk. */
		return true;
	}

	for (i = 0; i < disk->cache->num_opens; i++) {
		if (rsvd_disk_open_is_alive(disk, &disk->cache->opens[i])) {
			return true;
		}
	}

	return false;
}

bool rsvd_disk_has_open(struct rsvd_disk *disk, const struct server_id *pid,
			uint64_t open_id)
{
	NTSTATUS status;
	uint32_t idx;

	status = rsvd_disk_refresh(disk);
	if (!NT_STATUS_IS_OK(status)) {
		return false;
	}

	return rsvd_disk_find_open(disk->cache, pid, open_id, &idx);
}

NTSTATUS rsvd_disk_get(struct rsvd_disk *disk, TALLOC_CTX *mem_ctx,
		       struct rsvd_disk_record **_record)
{
	struct rsvd_disk_record *record = NULL;
	bool changed = false;
	NTSTATUS status;

	status = rsvd_disk_refresh(disk);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	status = rsvd_record_pull(mem_ctx, disk->cache_blob, &record);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	rsvd_disk_record_drop_dead(disk, record, &changed);

	*_record = record;
	return NT_STATUS_OK;
}

static bool rsvd_disk_cache_has_dead(struct rsvd_disk *disk)
{
	uint32_t i;

	for (i = 0; i < disk->cache->num_opens; i++) {
		if (!rsvd_disk_open_is_alive(disk, &disk->cache->opens[i])) {
			return true;
		}
	}

	return false;
}

/*
 * RESERVE ends with the nexus (SPC-2 5.5.1), a SANITIZE with who does it, and a
 * process that died has told nobody. Persistent reservations do not end.
 */
static bool rsvd_disk_ends_with_process(const struct scsi_state *scsi)
{
	return scsi->reserved || (scsi->sanitize == SCSI_SANITIZE_RUNNING);
}

const struct scsi_state *rsvd_disk_scsi_state(struct rsvd_disk *disk,
					      uint64_t *generation)
{
	NTSTATUS status;

	status = rsvd_disk_refresh(disk);
	if (NT_STATUS_IS_OK(status) &&
	    rsvd_disk_ends_with_process(disk->cache->scsi) &&
	    rsvd_disk_cache_has_dead(disk))
	{
		/* Nothing else hurries to drop the dead. */
		status = rsvd_disk_change(disk, NULL, NULL);
		if (NT_STATUS_IS_OK(status)) {
			status = rsvd_disk_refresh(disk);
		}
	}
	if (!NT_STATUS_IS_OK(status)) {
		DBG_ERR("Cannot read the disk record: %s\n",
			nt_errstr(status));
		return NULL;
	}

	if (generation != NULL) {
		*generation = disk->cache_generation;
	}
	return disk->cache->scsi;
}

struct rsvd_disk_scsi_update_state {
	scsi_state_fn fn;
	void *fn_data;
};

static NTSTATUS rsvd_disk_scsi_update_fn(struct rsvd_disk_record *record,
					 bool *changed, void *private_data)
{
	struct rsvd_disk_scsi_update_state *state = private_data;
	bool scsi_changed = false;
	NTSTATUS status;

	status = state->fn(record->scsi, &scsi_changed, state->fn_data);
	if (scsi_changed) {
		*changed = true;
	}
	return status;
}

NTSTATUS rsvd_disk_scsi_update(struct rsvd_disk *disk, scsi_state_fn fn,
			       void *fn_data)
{
	struct rsvd_disk_scsi_update_state state = {
		.fn = fn, .fn_data = fn_data,
	};

	return rsvd_disk_change(disk, rsvd_disk_scsi_update_fn, &state);
}
