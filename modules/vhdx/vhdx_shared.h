/*
 * vfs_rsvd: what the processes that use one image know together
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _VHDX_SHARED_H_
#define _VHDX_SHARED_H_

#include "lib/dbwrap/dbwrap.h"
#include "lib/util/data_blob.h"
#include "librpc/gen_ndr/server_id.h"

struct vhdx_shared;

/**
 * Tell whether a process that announced itself still lives; in smbd
 * serverid_exists(), elsewhere a test of the pid.
 */
typedef bool (*vhdx_alive_fn)(const struct server_id *id, void *private_data);

/**
 * Join the users of an image: a record under *key* in *db* that holds who
 * writes it, the map generation, where the next block goes and where the log
 * stands. The lock on the record is the allocation lock: dbwrap gives it back
 * when its holder dies (fcntl or robust mutex; in a ctdb cluster, ctdb).
 *
 * @param[in]  db    stays valid while the result lives
 * @param[in]  key   copied
 * @param[in]  self  this process
 * @return NULL when out of memory
 */
struct vhdx_shared *vhdx_shared_init(TALLOC_CTX *mem_ctx,
				     struct db_context *db, TDB_DATA key,
				     struct server_id self,
				     vhdx_alive_fn alive, void *private_data);

/**
 * Make a process call vhdx_catch_up() soon, for each image that it has open
 * and that can be this one. Without this the space of trimmed blocks is only
 * used again when everybody has come by.
 */
typedef void (*vhdx_ask_fn)(const struct server_id *id, void *private_data);
void vhdx_shared_set_ask(struct vhdx_shared *shared, vhdx_ask_fn ask,
			 void *private_data);

#endif /* _VHDX_SHARED_H_ */
