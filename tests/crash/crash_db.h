/*
 * vfs_rsvd: a database whose users can vanish
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _CRASH_DB_H_
#define _CRASH_DB_H_

#include "replace.h"
#include "lib/dbwrap/dbwrap.h"

/*
 * A dbwrap database in memory with one record. Who holds the lock may be
 * gone by longjmp(): crash_db_unlock() is then what the kernel does.
 */
struct db_context *crash_db_new(TALLOC_CTX *mem_ctx);
void crash_db_unlock(struct db_context *db);
/* What TDB_CLEAR_IF_FIRST does when nobody has it open */
void crash_db_clear(struct db_context *db);

#endif /* _CRASH_DB_H_ */
