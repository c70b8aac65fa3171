/*
 * vfs_rsvd: a database whose users can vanish
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "tests/crash/crash_db.h"
#include "lib/dbwrap/dbwrap_private.h"

struct crash_db {
	TDB_DATA value;
	int seqnum;
	bool locked;
};

static NTSTATUS db_storev(struct db_record *rec, const TDB_DATA *dbufs,
			  int num_dbufs, int flag)
{
	struct crash_db *db = rec->private_data;

	if (num_dbufs != 1) {
		return NT_STATUS_NOT_IMPLEMENTED;
	}
	TALLOC_FREE(db->value.dptr);
	db->value.dptr = talloc_memdup(db, dbufs[0].dptr, dbufs[0].dsize);
	db->value.dsize = dbufs[0].dsize;
	db->seqnum += 1;
	return NT_STATUS_OK;
}

static NTSTATUS db_delete_rec(struct db_record *rec)
{
	struct crash_db *db = rec->private_data;

	TALLOC_FREE(db->value.dptr);
	db->value.dsize = 0;
	db->seqnum += 1;
	return NT_STATUS_OK;
}

static NTSTATUS db_do_locked(struct db_context *context, TDB_DATA key,
			     void (*fn)(struct db_record *rec, TDB_DATA value,
					void *private_data),
			     void *private_data)
{
	struct crash_db *db = context->private_data;
	struct db_record rec = {
		.db = context,
		.key = key,
		.storev = db_storev,
		.delete_rec = db_delete_rec,
		.private_data = db,
	};

	if (db->locked) {
		return NT_STATUS_LOCK_NOT_GRANTED;
	}
	db->locked = true;
	fn(&rec, db->value, private_data);
	db->locked = false;
	return NT_STATUS_OK;
}

static NTSTATUS db_parse_record(struct db_context *context, TDB_DATA key,
				void (*parser)(TDB_DATA key, TDB_DATA data,
					       void *private_data),
				void *private_data)
{
	struct crash_db *db = context->private_data;

	if (db->value.dsize == 0) {
		return NT_STATUS_NOT_FOUND;
	}
	parser(key, db->value, private_data);
	return NT_STATUS_OK;
}

static int db_get_seqnum(struct db_context *context)
{
	struct crash_db *db = context->private_data;

	return db->seqnum;
}

struct db_context *crash_db_new(TALLOC_CTX *mem_ctx)
{
	struct db_context *context = talloc_zero(mem_ctx, struct db_context);
	struct crash_db *db = talloc_zero(context, struct crash_db);

	db->seqnum = 1;
	context->do_locked = db_do_locked;
	context->parse_record = db_parse_record;
	context->get_seqnum = db_get_seqnum;
	context->name = "crash";
	context->private_data = db;
	context->lock_order = DBWRAP_LOCK_ORDER_NONE;
	return context;
}

void crash_db_unlock(struct db_context *context)
{
	struct crash_db *db = context->private_data;

	db->locked = false;
}

void crash_db_clear(struct db_context *context)
{
	struct crash_db *db = context->private_data;

	TALLOC_FREE(db->value.dptr);
	db->value.dsize = 0;
	db->seqnum = 1;
}
