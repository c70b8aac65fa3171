/*
 * vfs_rsvd: the databases that smbd processes share
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/modules/vfs_rsvd.h"
#include "source3/modules/vfs_rsvd_compat.h"
#include "dbwrap/dbwrap_open.h"
#include "lib/util/samba_util.h"

static struct rsvd_databases *rsvd_databases;

/*
 * Where Linux tells one boot from the next. A record that was to live as long
 * as the power is on must not be believed after a reboot.
 */
static struct GUID rsvd_boot_id(void)
{
	struct GUID guid = { .time_low = 0 };
	size_t length = 0;
	char *line = NULL;
	NTSTATUS status;

	line = file_load("/proc/sys/kernel/random/boot_id",
			 &length,
			 0,
			 talloc_tos());
	if (line == NULL) {
		return guid;
	}
	trim_string(line, NULL, "\n");
	status = GUID_from_string(line, &guid);
	TALLOC_FREE(line);
	if (!NT_STATUS_IS_OK(status)) {
		return (struct GUID) { .time_low = 0 };
	}
	return guid;
}

static struct db_context *rsvd_db_open(TALLOC_CTX *mem_ctx,
				       char *path,
				       int tdb_flags,
				       enum dbwrap_lock_order order)
{
	struct db_context *db = NULL;

	if (path == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	db = db_open(mem_ctx,
		     path,
		     0,
		     tdb_flags,
		     O_RDWR | O_CREAT,
		     0600,
		     order,
		     DBWRAP_FLAG_NONE);
	if (db == NULL) {
		int err = errno;

		DBG_ERR("Failed to open %s: %s\n", path, strerror(err));
		errno = err;
	}
	TALLOC_FREE(path);
	return db;
}

struct rsvd_databases *rsvd_databases_get(void)
{
	/*
	 * The sequence number tells whether a cached record is still right. In
	 * a cluster it is that of this node's copy, which does not know what
	 * the other nodes change: there it stays 0, and every I/O asks ctdb
	 * for the record. A stale one would let a fenced node write.
	 */
	const int volatile_flags = TDB_CLEAR_IF_FIRST |
				   TDB_INCOMPATIBLE_HASH |
				   (lp_clustering() ? 0 : TDB_SEQNUM);
	struct rsvd_databases *dbs = rsvd_databases;
	int err;

	if (dbs != NULL) {
		return dbs;
	}

	dbs = talloc_zero(NULL, struct rsvd_databases);
	if (dbs == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	dbs->boot_id = rsvd_boot_id();

	/*
	 * smbd takes the lock of a share mode first (DBWRAP_LOCK_ORDER_1);
	 * nothing of smbd's is locked while ours are held.
	 */
	become_root();
	dbs->locks = rsvd_db_open(dbs,
				  lock_path(talloc_tos(), "rsvd_lock.tdb"),
				  volatile_flags,
				  DBWRAP_LOCK_ORDER_2);
	if (dbs->locks != NULL) {
		dbs->disks = rsvd_db_open(dbs,
					  lock_path(talloc_tos(), "rsvd.tdb"),
					  volatile_flags,
					  DBWRAP_LOCK_ORDER_3);
	}
	if (dbs->disks != NULL) {
		dbs->reservations = rsvd_db_open(
			dbs,
			state_path(talloc_tos(), "rsvd_reservations.tdb"),
			TDB_DEFAULT,
			DBWRAP_LOCK_ORDER_4);
	}
	err = errno;
	unbecome_root();

	if (dbs->reservations == NULL) {
		TALLOC_FREE(dbs);
		errno = err;
		return NULL;
	}

	rsvd_databases = dbs;
	return dbs;
}

bool rsvd_server_id_alive(const struct server_id *id, void *private_data)
{
	return serverid_exists(id);
}
